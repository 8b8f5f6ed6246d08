import { readFileSync } from 'node:fs';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { type RequestOptions, request as requestHttps } from 'node:https';
import { type Command, InvalidArgumentError } from 'commander';
import { fail } from './fail.ts';

/** Longest answer that is read, in bytes: the records and keys that commands ask for have some KiB. */
const maxAnswerBytes = 1_048_576;

/** Where a running service is, as its KMS_LISTEN says it, and what TLS needs. */
export interface ServiceAddress {
  /** `http://host:port`, `https://host:port` or `unix:/path`. */
  readonly url: URL;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
}

/** The options by which a command finds the service that it asks. */
export function withServiceAddress(command: Command): Command {
  return command
    .option(
      '--url <url>',
      'the running service: http://host:port, https://host:port or unix:/path',
      urlOf,
      new URL('http://127.0.0.1:7441'),
    )
    .option('--ca <file>', 'with https: the authorities of its certificate, PEM (default: those of Node)')
    .option('--cert <file>', 'with https: a client certificate with its chain, PEM')
    .option('--key <file>', 'with https: the private key of the client certificate, PEM')
    .option('--server-name <name>', "with https: the name in its certificate, where that is not the URL's");
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const onNetwork = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (url === undefined || !(onNetwork || /^unix:(\/\/)?\/[^/?#][^?#]*$/.test(text)))
    throw new InvalidArgumentError('give http://host:port, https://host:port or unix:/path');
  return url;
}

export interface ServiceQuestion {
  /** From the root of the API. */
  readonly path: string;
  readonly timeoutMs: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON, by POST; GET without one. */
  readonly body?: unknown;
}

export interface ServiceAnswer {
  readonly status: number;
  readonly text: string;
}

/** One answer of the service; ends the command with status 1 where there is none, and says why. Redirects are not followed. */
export async function exchangeWith(
  address: ServiceAddress,
  question: ServiceQuestion,
): Promise<ServiceAnswer> {
  const { path, timeoutMs, headers, body } = question;
  const signal = AbortSignal.timeout(timeoutMs);
  const options: RequestOptions = {
    // A connection of its own that ends with the answer.
    ...{ agent: false, signal, method: body === undefined ? 'GET' : 'POST' },
    headers: { ...(body === undefined ? undefined : { 'content-type': 'application/json' }), ...headers },
    ...placeOf(address, path),
  };
  try {
    return await send(address.url.protocol === 'https:', options, body);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = signal.aborted ? `within ${timeoutMs / 1_000} s` : (code ?? message);
    return fail(`no answer from ${shownUrl(address)}: ${why}`);
  }
}

/** Without a slash at its end; nothing in it is secret. */
export function shownUrl({ url }: ServiceAddress): string {
  return url.protocol === 'unix:' ? `unix:${socketOf(url)}` : `${url.origin}${baseOf(url)}`;
}

const socketOf = (url: URL): string => decodeURIComponent(url.pathname);
/** A proxy may have the API below a path of its own. */
const baseOf = (url: URL): string => url.pathname.replace(/\/+$/, '');

function placeOf(address: ServiceAddress, path: string): RequestOptions {
  const { url, ca, cert, key, serverName } = address;
  const secured = [ca, cert, key, serverName].some((given) => given !== undefined);
  if (secured && url.protocol !== 'https:') fail('--ca, --cert, --key and --server-name go with https');
  if ((cert === undefined) !== (key === undefined)) fail('--cert and --key go together');
  if (url.protocol === 'unix:') return { socketPath: socketOf(url), path };
  return {
    // An address of IPv6 has brackets in a URL only.
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port,
    path: `${baseOf(url)}${path}`,
    ...(ca === undefined ? undefined : { ca: readPem(ca) }),
    ...(cert === undefined || key === undefined ? undefined : { cert: readPem(cert), key: readPem(key) }),
    ...(serverName === undefined ? undefined : { servername: serverName }),
  };
}

function readPem(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    return fail(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

async function send(overTls: boolean, options: RequestOptions, body: unknown): Promise<ServiceAnswer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = (overTls ? requestHttps : requestHttp)(options, resolve);
    request.on('error', reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxAnswerBytes) throw new Error(`an answer of more than ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return { status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') };
}
