import { Pool } from 'undici';
import { errorOf, UnreachableError } from './errors.ts';

export interface TransportOptions {
  /** `http://host:port`, `https://host:port`, with a path where a proxy has the API below one, or `unix:/path`. */
  readonly url: string | URL;
  /** PEM; of TLS only. */
  readonly tls?: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly serverName?: string;
  };
  /** Most connections that are kept open. */
  readonly connections?: number;
}

export interface Question {
  readonly method?: 'GET' | 'POST';
  /** From the root of the API. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly retryAfter: string | string[] | undefined;
}

/** A full batch of ML-DSA-87 signatures has 1.6 MiB, and a page of 1,000 keys half as much. */
const maxAnswerBytes = 8 * 1024 * 1024;

const usualConnections = 16;

/** Below the service's own, which closes idle connections after its time. */
const keepAliveTimeout = 4_000;

/** Connections that are kept alive, to one service. */
export class Transport {
  readonly #pool: Pool;
  readonly #base: string;

  constructor({ url, tls, connections = usualConnections }: TransportOptions) {
    const { origin, base, socketPath } = placeOf(url);
    if (tls !== undefined && !origin.startsWith('https:')) throw new TypeError('tls goes with https');
    this.#base = base;
    const { ca, cert, key, serverName: servername } = tls ?? {};
    const given = Object.entries({ ca, cert, key, servername, socketPath });
    const connect = Object.fromEntries(given.filter(([, value]) => value !== undefined));
    this.#pool = new Pool(origin, {
      ...{ connections, connect, keepAliveTimeout, maxResponseSize: maxAnswerBytes },
      // A deadline ends each call.
      ...{ headersTimeout: 0, bodyTimeout: 0 },
    });
  }

  /** Whatever the service answers. Throws an UnreachableError where it does not. Redirects are not followed. */
  async ask({ method, path, headers, body, timeoutMs, signal }: Question): Promise<Answer> {
    const timeout = AbortSignal.timeout(Math.max(1, Math.ceil(timeoutMs)));
    try {
      const answer = await this.#pool.request({
        method: method ?? (body === undefined ? 'GET' : 'POST'),
        path: `${this.#base}${path}`,
        headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
        body: body === undefined ? null : JSON.stringify(body),
        signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
      } as Parameters<Pool['request']>[0]);
      const text = await answer.body.text();
      return { status: answer.statusCode, text, retryAfter: answer.headers['retry-after'] };
    } catch (cause) {
      if (signal?.aborted === true) throw signal.reason;
      if (timeout.aborted) throw new UnreachableError('DEADLINE', `no answer within ${timeoutMs} ms`, cause);
      const { code: own, message } = cause as NodeJS.ErrnoException;
      // undici's word for a connection that the other side closed.
      const code = own === 'UND_ERR_SOCKET' ? 'ECONNRESET' : own;
      throw new UnreachableError(code ?? 'UNKNOWN', `no answer: ${code ?? message}`, cause);
    }
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }
}

/** JSON of a 2xx; throws the KmsError of any other. */
export function readAnswer({ status, text, retryAfter }: Answer): unknown {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  if (status < 200 || status > 299 || body === undefined) throw errorOf(body, status, retryAfter);
  return body;
}

function placeOf(given: string | URL): { origin: string; base: string; socketPath: string | undefined } {
  const form = new TypeError('url: http://host:port, https://host:port or unix:/path');
  if (!URL.canParse(String(given))) throw form;
  const url = new URL(given);
  if (url.protocol === 'unix:')
    return { origin: 'http://localhost', base: '', socketPath: decodeURIComponent(url.pathname) };
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw form;
  return { origin: url.origin, base: url.pathname.replace(/\/+$/, ''), socketPath: undefined };
}
