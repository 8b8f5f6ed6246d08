import http, { type IncomingMessage } from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Writable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { awsProvider } from '../../../src/custody/root-key/aws/index.ts';
import { azureProvider } from '../../../src/custody/root-key/azure/index.ts';
import type { CloudLimits } from '../../../src/custody/root-key/cloud/limits.ts';
import type { CloudKind, CloudProvider } from '../../../src/custody/root-key/cloud/wrapping.ts';
import { type GcpCredentials, gcpProvider } from '../../../src/custody/root-key/gcp/index.ts';
import type { TestCertificate } from '../certificates.ts';
import type { CloudKey } from './server.ts';

/** Whatever is a credential in a request. */
export const hostileCredential = 'fake-secret-of-a-stranger';

/** One answer to each call: its status and headers, and its body or what writes one. In a text `$key` is the name of the key. */
export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string | ((out: Writable) => void);
}

/** A server that stands where a KMS is looked for. */
export interface Hostile {
  readonly key: CloudKey;
  readonly port: number;
  /** Calls that it was asked, with their paths. */
  readonly asked: readonly string[];
  provider(limits: CloudLimits): CloudProvider<CloudKind>;
  close(): Promise<void>;
}

interface Options {
  readonly tls?: TestCertificate;
  /** Of the key, in place of `localhost` or 127.0.0.1. */
  readonly host?: string;
  /** In place of 127.0.0.1. */
  readonly listensAt?: string;
  /** Of a service account, over TLS. */
  readonly gcpCredentials?: GcpCredentials;
}

const version = '0123456789abcdef'.repeat(2);
const keysAt: Record<CloudKind, (origin: string) => CloudKey> = {
  aws: (endpoint) => ({
    ...{ kind: 'aws', endpoint, algorithm: 'SYMMETRIC_DEFAULT' },
    key: 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd',
  }),
  gcp: (endpoint) => ({
    ...{ kind: 'gcp', endpoint, algorithm: 'GOOGLE_SYMMETRIC_ENCRYPTION' },
    key: 'projects/p/locations/l/keyRings/r/cryptoKeys/k',
  }),
  azure: (origin) => ({
    ...{ kind: 'azure', algorithm: 'RSA-OAEP-256' },
    key: `${origin}/keys/root/${version}`,
  }),
};

/** Gives `answer` to whatever a provider's SDK calls, with a credential or without. */
export async function startHostile(kind: CloudKind, answer: Answer, options: Options = {}): Promise<Hostile> {
  const asked: string[] = [];
  let named = '';
  const server =
    kind === 'gcp'
      ? grpcServer(answer, asked, options.tls)
      : webServer(answer, asked, { ...options, nameOf: () => named });
  await new Promise<void>((resolve) => server.listen(0, options.listensAt ?? '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const { tls, host = tls === undefined ? '127.0.0.1' : 'localhost', gcpCredentials } = options;
  const origin = `${tls === undefined ? 'http' : 'https'}://${host}:${port}`;
  const secret = hostileCredential;
  const key = keysAt[kind](origin);
  named = key.key;
  return {
    ...{ key, port, asked },
    provider(limits) {
      if (kind === 'gcp') return gcpProvider(limits, gcpCredentials) as CloudProvider<never>;
      if (kind === 'aws')
        return awsProvider(limits, {
          accessKeyId: 'AKIAFAKE',
          secretAccessKey: secret,
        }) as CloudProvider<never>;
      const token = { token: secret, expiresOnTimestamp: Date.now() + 3_600_000 };
      return azureProvider(limits, { getToken: async () => token }) as CloudProvider<never>;
    },
    async close() {
      server.closeAll();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** Over HTTP/1.1. Azure's SDK sends the key after a challenge only. */
function webServer(answer: Answer, asked: string[], { tls, nameOf }: Options & { nameOf: () => string }) {
  const listener = (request: IncomingMessage, response: http.ServerResponse) => {
    request.resume();
    asked.push(`${request.method} ${request.url}`);
    if (request.headers.authorization === undefined) {
      const challenge =
        'Bearer authorization="https://login.microsoftonline.com/fake", resource="https://vault.azure.net"';
      response.writeHead(401, { 'www-authenticate': challenge }).end();
      return;
    }
    const { status = 200, headers = {}, body = '' } = answer;
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    if (typeof body === 'function') body(response);
    else response.end(typeof body === 'string' ? body.replaceAll('$key', nameOf()) : body);
  };
  const server = tls === undefined ? http.createServer(listener) : https.createServer({ ...tls }, listener);
  return Object.assign(server, { closeAll: () => server.closeAllConnections() });
}

/** Over HTTP/2. A body is one of gRPC, with its prefixes. */
function grpcServer(answer: Answer, asked: string[], tls: TestCertificate | undefined) {
  const server = tls === undefined ? http2.createServer() : http2.createSecureServer({ ...tls });
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session: http2.ServerHttp2Session) => {
    sessions.add(session);
    session.on('error', () => {});
  });
  server.on('sessionError', () => {});
  server.on('tlsClientError', () => {});
  server.on('stream', (stream: http2.ServerHttp2Stream, asking: http2.IncomingHttpHeaders) => {
    stream.on('error', () => {});
    asked.push(`${asking[':method']} ${asking[':path']}`);
    const { status = 200, headers = {}, body = '' } = answer;
    const respond = { ':status': status, 'content-type': 'application/grpc', ...headers };
    stream.respond(respond, { waitForTrailers: status === 200 });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    if (typeof body === 'function') body(stream);
    else stream.end(body);
  });
  return Object.assign(server, {
    closeAll: () => {
      for (const session of sessions) session.destroy();
    },
  });
}

/** A message of gRPC: whether it is compressed, its length, and its bytes. */
export function grpcMessage(bytes: Uint8Array, compressed = false, length = bytes.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix[0] = compressed ? 1 : 0;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** Writes until nobody reads any more; `wrote` is told how much. */
export function endless(first: Uint8Array, wrote: (bytes: number) => void): (out: Writable) => void {
  return (out) => {
    const chunk = Buffer.alloc(65_536, ' ');
    out.on('error', () => {});
    out.write(first);
    const more = () => {
      while (!out.destroyed && !out.closed) {
        wrote(chunk.length);
        if (!out.write(chunk)) return;
      }
    };
    out.on('drain', more);
    more();
  };
}

/** One byte after another, for ever. */
export function drip(first: Uint8Array, everyMs: number): (out: Writable) => void {
  return (out) => {
    out.on('error', () => {});
    out.write(first);
    const timer = setInterval(() => (out.destroyed ? clearInterval(timer) : out.write(' ')), everyMs);
    out.once('close', () => clearInterval(timer));
  };
}

/** Small, and 48 MiB when it is inflated. */
export const bomb = () => gzipSync(Buffer.alloc(48 * 1_048_576));
