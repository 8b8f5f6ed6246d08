import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { Transport } from '../../src/client/index.ts';
import { makeTestPki } from '../support/certificates.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

async function opened(context: TestContext, server: Server, at: string | number): Promise<number> {
  await new Promise<void>((resolve) => server.listen(at, resolve));
  context.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

test('a Unix socket is asked, and a path below which a proxy has the API', async (context) => {
  const path = join(temporaryDirectory(context), 'kms.sock');
  await opened(
    context,
    createServer(({ url }, response) => response.end(url)),
    path,
  );
  const bySocket = new Transport({ url: `unix:${path}` });
  assert.equal((await bySocket.ask({ path: '/readyz', timeoutMs: 10_000 })).text, '/readyz');
  await bySocket.close();
  const port = await opened(
    context,
    createServer(({ url }, response) => response.end(url)),
    0,
  );
  const byProxy = new Transport({ url: `http://localhost:${port}/below/` });
  assert.equal((await byProxy.ask({ path: '/readyz', timeoutMs: 10_000 })).text, '/below/readyz');
  await byProxy.close();
});

test('mutual TLS: the certificate is shown, the server by its name, and another authority is refused', async (context) => {
  const pki = makeTestPki();
  const server = createTlsServer(
    { cert: pki.server.cert, key: pki.server.key, ca: pki.authority.cert, requestCert: true },
    (request, response) => response.end(String((request.socket as TLSSocket).authorized)),
  );
  const url = `https://127.0.0.1:${await opened(context, server, 0)}`;
  const tls = { ca: pki.authority.cert, cert: pki.client.cert, key: pki.client.key, serverName: 'localhost' };
  const known = new Transport({ url, tls });
  assert.equal((await known.ask({ path: '/', timeoutMs: 10_000 })).text, 'true');
  await known.close();
  const stranger = new Transport({ url, tls: { ca: makeTestPki().authority.cert } });
  await assert.rejects(stranger.ask({ path: '/', timeoutMs: 10_000 }), { name: 'UnreachableError' });
  await stranger.close();
});

test('connections are kept', async (context) => {
  const sockets = new Set<unknown>();
  const server = createServer((request, response) => {
    sockets.add(request.socket);
    response.end();
  });
  const url = `http://127.0.0.1:${await opened(context, server, 0)}`;
  const transport = new Transport({ url, connections: 1 });
  for (let n = 0; n < 5; n++) await transport.ask({ path: '/', timeoutMs: 10_000 });
  await transport.close();
  assert.equal(sockets.size, 1);
});
