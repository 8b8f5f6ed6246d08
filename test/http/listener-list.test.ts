import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { peerAt } from '../../src/core/peer.ts';
import { StartError } from '../../src/core/start-error.ts';
import { countConnections } from '../../src/http/connections.ts';
import type { Exchange, ListenerHandlers } from '../../src/http/exchange.ts';
import { NodeListener } from '../../src/http/listeners/node.ts';
import { UwsListener } from '../../src/http/listeners/uws.ts';
import { Listeners } from '../../src/http/listeners.ts';
import { RawConnection } from '../support/requests.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const host = '127.0.0.1';
const limits = (total = 100) => ({
  ...{ maxBodyBytes: 1_000, bodyTimeoutMs: 1_000 },
  connections: countConnections({ total, perAddress: total }),
});

function answering(exchanges: Exchange[] = [], refusals: string[] = []): ListenerHandlers {
  const answer = { status: 200, headers: [], body: 'hello' };
  return {
    onExchange(exchange) {
      exchanges.push(exchange);
      exchange.respond(answer);
    },
    refused: () => answer,
    onRefusal: (reason) => void refusals.push(reason),
  };
}

const get = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';
const portOf = (url: string | undefined) => Number(new URL(url ?? '').port);

function connecting(t: TestContext, port: number): RawConnection {
  const connection = new RawConnection(port);
  t.after(() => connection.socket.destroy());
  return connection;
}

test('listeners of several kinds serve side by side, stop accepting, drain and close together', async (t) => {
  const shared = limits();
  const listeners = new Listeners([
    new UwsListener({ host, port: 0, ...shared }),
    new NodeListener({ kind: 'tcp', at: { host, port: 0 }, ...shared }),
  ]);
  t.after(() => listeners.close());
  const urls = await listeners.listen(answering());
  assert.equal(new Set(urls.map(portOf)).size, 2);
  const connections = urls.map((url) => connecting(t, portOf(url)));
  for (const connection of connections) {
    connection.send(get);
    assert.equal((await connection.answers(1))[0]?.body, 'hello');
  }
  listeners.stopAccepting();
  for (const url of urls) assert.equal(await connecting(t, portOf(url)).closed(), '');
  await listeners.drain();
  listeners.close();
  for (const connection of connections) await connection.closed();
});

test('where one of them cannot listen none does', async (t) => {
  const first = new Listeners([new UwsListener({ host, port: 0, ...limits() })]);
  t.after(() => first.close());
  const port = portOf((await first.listen(answering()))[0]);
  const open = new NodeListener({ kind: 'tcp', at: { host, port: 0 }, ...limits() });
  let url = '';
  const listen = open.listen.bind(open);
  open.listen = async (handlers) => {
    url = await listen(handlers);
    return url;
  };
  const taken = new UwsListener({ host, port, ...limits() });
  await assert.rejects(new Listeners([open, taken]).listen(answering()), StartError);
  assert.equal(await connecting(t, portOf(url)).closed(), '');
});

test('the limits of connections hold for all listeners together', async (t) => {
  const shared = limits(1);
  const refusals: string[] = [];
  const listeners = new Listeners([
    new UwsListener({ host, port: 0, ...shared }),
    new NodeListener({ kind: 'tcp', at: { host, port: 0 }, ...shared }),
  ]);
  t.after(() => listeners.close());
  const [uws, node] = await listeners.listen(answering([], refusals));
  const connection = connecting(t, portOf(uws));
  connection.send(get);
  await connection.answers(1);
  assert.equal(await connecting(t, portOf(node)).closed(), '');
  assert.equal(refusals.length, 1);
});

test('node:http serves a Unix socket, with a peer that its maker names', async (t) => {
  const path = join(temporaryDirectory(t), 'kms.sock');
  const peer = { ...peerAt('unix'), uid: 7, gid: 8 };
  const listener = new NodeListener({ kind: 'unix', at: { path }, admit: () => peer, ...limits() });
  t.after(() => listener.close());
  const exchanges: Exchange[] = [];
  assert.equal(await listener.listen(answering(exchanges)), `unix:${path}`);
  const socket = connect(path);
  t.after(() => socket.destroy());
  socket.write(get);
  const received = await new Promise<string>((resolve) => {
    socket.once('data', (chunk) => resolve(String(chunk)));
  });
  assert.match(received, /\r\n\r\nhello$/);
  assert.equal(exchanges[0]?.peer(), peer);
});
