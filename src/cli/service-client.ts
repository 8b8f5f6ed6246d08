import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { UnreachableError } from '../client/errors.ts';
import type { Transport } from '../client/transport.ts';
import { fail } from './fail.ts';

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

export function urlOf(text: string): URL {
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
  const transport = await transportOf(address);
  try {
    return await transport.ask({ path, timeoutMs, ...(headers === undefined ? {} : { headers }), body });
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
    const why = error.code === 'DEADLINE' ? `within ${timeoutMs / 1_000} s` : error.code;
    return fail(`no answer from ${shownUrl(address)}: ${why}`);
  } finally {
    await transport.close();
  }
}

/** Without a slash at its end; nothing in it is secret. */
export function shownUrl({ url }: ServiceAddress): string {
  return url.protocol === 'unix:' ? `unix:${socketOf(url)}` : `${url.origin}${baseOf(url)}`;
}

const socketOf = (url: URL): string => decodeURIComponent(url.pathname);
/** A proxy may have the API below a path of its own. */
const baseOf = (url: URL): string => url.pathname.replace(/\/+$/, '');

async function transportOf(address: ServiceAddress): Promise<Transport> {
  const { url, ca, cert, key, serverName } = address;
  const secured = [ca, cert, key, serverName].some((given) => given !== undefined);
  if (secured && url.protocol !== 'https:') fail('--ca, --cert, --key and --server-name go with https');
  if ((cert === undefined) !== (key === undefined)) fail('--cert and --key go together');
  // Most commands need no HTTP library, which is slow to load.
  const { Transport } = await import('../client/transport.ts');
  return new Transport({ url, connections: 1, ...(secured ? { tls: tlsOf(address) } : {}) });
}

/** The files of TLS, read; ends the command where one cannot be. */
export function tlsOf({ ca, cert, key, serverName }: Omit<ServiceAddress, 'url'>) {
  return {
    ...(ca === undefined ? undefined : { ca: readPem(ca) }),
    ...(cert === undefined || key === undefined ? undefined : { cert: readPem(cert), key: readPem(key) }),
    ...(serverName === undefined ? undefined : { serverName }),
  };
}

function readPem(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    return fail(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}
