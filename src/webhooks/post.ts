import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { hostOf, isPublicAddress, type TargetRule } from './targets.ts';

/** `problem`: one word, without anything of the URL or of what came. */
export type Posted = { readonly status: number } | { readonly problem: string };

export interface PostTerms {
  readonly rule: TargetRule;
  /** Gives judged addresses only. */
  readonly lookup: LookupFunction;
  readonly timeoutMs: number;
  readonly cancelled: AbortSignal;
  /** Authorities in PEM, in the place of the system's; for tests. */
  readonly ca?: string;
}

/** Of an answer; its body is not read. */
const maxHeadBytes = 16 * 1024;

/** One POST on a connection of its own. Redirects are not followed, and of the answer the status alone is read. */
export function postJson(
  url: URL,
  headers: Readonly<Record<string, string>>,
  body: string,
  { rule, lookup, timeoutMs, cancelled, ca }: PostTerms,
): Promise<Posted> {
  const host = hostOf(url);
  // Sockets look up no address, so it is judged here.
  if (rule === 'public' && isIP(host) !== 0 && !isPublicAddress(host))
    return Promise.resolve({ problem: 'not_public' });
  const plain = url.protocol === 'http:';
  if (plain && rule !== 'development') return Promise.resolve({ problem: 'not_https' });
  return new Promise((settle) => {
    const sent = (plain ? requestPlain : requestTls)(url, {
      ...{ method: 'POST', agent: false, lookup, maxHeaderSize: maxHeadBytes },
      ...(ca === undefined ? undefined : { ca }),
      headers: {
        ...headers,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
        'user-agent': 'intaglio-webhooks',
        connection: 'close',
      },
      signal: AbortSignal.any([cancelled, AbortSignal.timeout(timeoutMs)]),
    });
    sent.on('response', (answer) => {
      settle({ status: answer.statusCode ?? 0 });
      answer.on('error', () => {});
      answer.destroy();
    });
    sent.on('error', (error: NodeJS.ErrnoException) => settle({ problem: wordOf(error) }));
    sent.on('close', () => settle({ problem: 'closed' }));
    sent.end(body);
  });
}

function wordOf({ code, name, message }: NodeJS.ErrnoException): string {
  if (message === 'not_public') return message;
  if (name === 'AbortError' || name === 'TimeoutError') return 'timeout';
  return /^[A-Z_0-9]{1,40}$/.test(code ?? '') ? (code as string).toLowerCase() : 'failed';
}
