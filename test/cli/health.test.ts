import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, ListenOptions, Server } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { makeTestPki } from '../support/certificates.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { intaglio } from './intaglio.ts';

const answersOf =
  (answers: Readonly<Record<string, number>>): RequestListener =>
  ({ url = '' }, response) => {
    response.writeHead(answers[url] ?? 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ asked: url }));
  };

async function opened(context: TestContext, server: Server, at: ListenOptions): Promise<number> {
  await new Promise<void>((listening) => server.listen(at, listening));
  context.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function answering(context: TestContext, answers: Readonly<Record<string, number>>): Promise<string> {
  const port = await opened(context, createServer(answersOf(answers)), { host: '127.0.0.1', port: 0 });
  return `http://127.0.0.1:${port}`;
}

test('health says by its exit status whether a service is ready', async (context) => {
  const ready = await answering(context, { '/readyz': 200, '/healthz': 200 });
  const waiting = await answering(context, { '/readyz': 503, '/healthz': 200 });
  const other = await answering(context, {});
  const statuses = await Promise.all(
    [
      ['--url', ready],
      ['--url', `${ready}/`, '--live'],
      ['--url', waiting],
      ['--url', waiting, '--live'],
      ['--url', other],
      ['--url', 'http://127.0.0.1:1'],
      ['--url', 'file:///etc/passwd'],
    ].map(async (args) => (await intaglio(['health', ...args])).status),
  );
  assert.deepEqual(statuses, [0, 0, 3, 0, 1, 1, 1]);
});

test('health shows what is missing', async (context) => {
  const waiting = await answering(context, { '/readyz': 503 });
  const { stdout, stderr } = await intaglio(['health', '--url', waiting]);
  assert.deepEqual([stdout, stderr], ['', 'intaglio: not ready: {"asked":"/readyz"}\n']);
});

test('health asks over a Unix socket, as other commands do', async (context) => {
  const directory = temporaryDirectory(context);
  const path = join(directory, 'kms.sock');
  await opened(
    context,
    createServer(answersOf({ '/readyz': 503, '/healthz': 200, '/v1/kms/token/keys': 200 })),
    {
      path,
    },
  );
  const token = join(directory, 'token');
  writeFileSync(token, 'a token');
  const [ready, live, keys, none, relative] = await Promise.all(
    [
      ['health', '--url', `unix:${path}`],
      ['health', '--url', `unix://${path}`, '--live'],
      ['token', 'keys', '--url', `unix:${path}`, '--token-file', token],
      ['health', '--url', `unix:${path}.none`],
      ['health', '--url', 'unix:kms.sock'],
    ].map((args) => intaglio(args)),
  );
  assert.deepEqual([ready?.status, live?.status, keys?.status], [3, 0, 0]);
  assert.deepEqual(JSON.parse(keys?.stdout ?? ''), { asked: '/v1/kms/token/keys' });
  assert.deepEqual([none?.status, none?.stderr], [1, `intaglio: no answer from unix:${path}.none: ENOENT\n`]);
  assert.match(relative?.stderr ?? '', /give http:\/\/host:port, https:\/\/host:port or unix:\/path/);
});

test('health asks over mutual TLS, and says why there is no answer', async (context) => {
  const directory = temporaryDirectory(context);
  const pki = makeTestPki();
  const named = (name: string, text: string) => {
    const file = join(directory, name);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  };
  const ca = named('ca.pem', pki.authority.cert);
  const client = [
    '--cert',
    named('client.pem', pki.client.cert),
    '--key',
    named('client.key', pki.client.key),
  ];
  const server = createTlsServer(
    {
      ...{ cert: pki.server.cert, key: pki.server.key, ca: pki.authority.cert },
      ...{ requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
    },
    answersOf({ '/readyz': 200 }),
  );
  const port = await opened(context, server, { host: '127.0.0.1', port: 0 });
  const url = ['--url', `https://127.0.0.1:${port}`];
  const cases: [args: string[], status: number, said: RegExp][] = [
    [[...url, '--ca', ca, ...client], 0, /^$/],
    [[...url, '--ca', ca, ...client, '--server-name', 'localhost'], 0, /^$/],
    [
      [...url, '--ca', ca, ...client, '--server-name', 'other.example'],
      1,
      /: ERR_TLS_CERT_ALTNAME_INVALID$/m,
    ],
    [[...url, ...client], 1, /: (UNABLE_TO_\w+|SELF_SIGNED_\w+)$/m],
    [[...url, '--ca', ca], 1, /: (ERR_SSL_\w*CERTIFICATE_REQUIRED|ECONNRESET|EPIPE)$/m],
    [[...url, '--ca', ca, ...client.slice(0, 2)], 1, /--cert and --key go together/],
    [[...url, '--ca', join(directory, 'none')], 1, /cannot read .*none: ENOENT/],
    [['--ca', ca], 1, /go with https/],
  ];
  await Promise.all(
    cases.map(async ([args, status, said]) => {
      const outcome = await intaglio(['health', ...args]);
      assert.equal(outcome.status, status, `${args.join(' ')}: ${outcome.stderr}`);
      assert.match(outcome.stderr, said);
    }),
  );
});

test('health does not wait for a service that accepts and says nothing', {
  timeout: 30_000,
}, async (context) => {
  const path = join(temporaryDirectory(context), 'silent.sock');
  const server = createServer(() => undefined);
  await opened(context, server, { path });
  const { status, stderr } = await intaglio(['health', '--url', `unix:${path}`]);
  assert.deepEqual([status, stderr], [1, `intaglio: no answer from unix:${path}: within 3 s\n`]);
});
