import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import test from 'node:test';
import { connect as connectTls } from 'node:tls';
import { countConnections } from '../../src/http/connections.ts';
import type { ListenerKindUnderTest } from '../contracts/listener-harness.ts';
import { until } from '../support/keyring.ts';
import { listenerKinds } from '../support/listener-kinds.ts';
import { malformedRequest, mutated, seeded } from '../support/malformed.ts';
import { RawConnection } from '../support/requests.ts';

// `npm run drill:listeners` has 20,000 exchanges of all kinds together.

const exchanges = Number(process.env.DRILL_EXCHANGES ?? 600) / listenerKinds.length;
const seed = Number(process.env.DRILL_SEED ?? 1);
const hello = 'GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n';

const openDescriptors = () => readdirSync('/proc/self/fd').length;

/** All that happened on the connection that is open, of which there is one at a time. */
interface Seen {
  handedOn: number;
  refused: number;
  afterRefusal: number;
}

async function startCounting(kind: ListenerKindUnderTest) {
  const seen: Seen = { handedOn: 0, refused: 0, afterRefusal: 0 };
  const listener = kind.make({
    ...{ maxBodyBytes: 1_000, bodyTimeoutMs: 200, times: { headersMs: 100, writeMs: 200, idleMs: 2_000 } },
    connections: countConnections({ total: 1_000, perAddress: 1_000 }),
  });
  const url = await listener.listen({
    onExchange(exchange) {
      seen.handedOn++;
      if (seen.refused > 0) seen.afterRefusal++;
      const answer = { status: 200, headers: [], body: exchange.path };
      if (exchange.body.length % 2 === 0) exchange.respond(answer);
      else setImmediate(() => exchange.respond(answer));
    },
    refused() {
      seen.refused++;
      return { status: 400, headers: [], body: '{}', close: true };
    },
    onRefusal() {},
  });
  return { seen, listener, url };
}

/** The first bytes that a client of TLS sends. */
async function clientHello(): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const client = connectTls({ port, host: '127.0.0.1' }).on('error', () => {});
  const [socket] = await once(server, 'connection');
  const [bytes] = await once(socket, 'data');
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

for (const kind of listenerKinds) {
  test(`${kind.name}: malformed exchanges are refused or dropped, one at most, and leave nothing behind (seed ${seed})`, async (t) => {
    const random = seeded(seed);
    const { seen, listener, url } = await startCounting(kind);
    t.after(() => listener.close());
    const greeting = kind.listener === 'tls' ? await clientHello() : undefined;
    const serves = async () => {
      const connection = new RawConnection(kind.dial(url));
      connection.send(hello);
      assert.match(await connection.closed(), /\r\n\r\n\/hello$/);
    };
    await serves();
    const before = openDescriptors();
    let served = 0;
    let refused = 0;
    for (let n = 0; n < exchanges; n++) {
      const noise = greeting !== undefined && n % 8 === 0;
      const bytes = noise ? mutated(random, greeting) : malformedRequest(random);
      const socket = noise ? connect(Number(new URL(url).port), '127.0.0.1') : kind.dial(url);
      Object.assign(seen, { handedOn: 0, refused: 0, afterRefusal: 0 });
      const connection = new RawConnection(socket);
      const cut = Math.floor(random() * bytes.length);
      connection.send(bytes.subarray(0, cut));
      if (random() < 0.3) await new Promise(setImmediate);
      connection.send(bytes.subarray(cut));
      connection.leave('end');
      const received = await connection.closed();
      const what = `exchange ${n}: ${JSON.stringify(bytes.toString('latin1').slice(0, 2_000))}`;
      const answers = [...received.matchAll(/HTTP\/1\.1 (?!100)\d{3} /g)].length;
      // The library of TCP refuses some by itself.
      assert.ok(answers <= seen.handedOn + Math.max(1, seen.refused), `${what}\n${received}`);
      assert.ok(seen.refused <= 1 && seen.afterRefusal === 0, `${what}\n${received}`);
      served += seen.handedOn;
      refused += [...received.matchAll(/HTTP\/1\.1 [45]\d\d /g)].length;
      if (n % 100 === 99) await serves();
    }
    await serves();
    // The bytes are wrong in ways that reach the parser, and not in all ways at once.
    assert.ok(served > exchanges / 100 && refused > exchanges / 10, `${served} served, ${refused} refused`);
    await until(() => openDescriptors() <= before);
  });
}
