import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { contractFor, head, text } from '../contracts/listener-harness.ts';
import { until } from '../support/keyring.ts';
import { listenerKinds } from '../support/listener-kinds.ts';
import { RawConnection } from '../support/requests.ts';

const never = 60_000;

for (const kind of listenerKinds.filter(({ takesChunks }) => takesChunks)) {
  const { check, open } = contractFor(kind);
  const timed = (times: { headersMs?: number; writeMs?: number; idleMs?: number }) => ({
    times: { headersMs: never, writeMs: never, idleMs: never, ...times },
  });

  check('a client that sends nothing is ended', async (t) => {
    const { exchanges, connect } = await open(t, 'at once', undefined, timed({ headersMs: 100 }));
    assert.equal(await connect().closed(), '');
    assert.deepEqual(exchanges, []);
  });

  check('a client that sends its headers byte by byte is ended, and never handed on', async (t) => {
    const { exchanges, connect } = await open(t, 'at once', undefined, timed({ headersMs: 100 }));
    const connection = connect();
    connection.send('GET / HTTP/1.1\r\n');
    const drip = setInterval(() => connection.send('x'), 20);
    t.after(() => clearInterval(drip));
    await connection.closed();
    assert.deepEqual([connection.received, exchanges], ['', []]);
  });

  check('a client that sends its body byte by byte is answered 408', async (t) => {
    const { exchanges, connect } = await open(t, 'at once', undefined, { bodyTimeoutMs: 100 });
    const connection = connect();
    connection.send(head('POST /', 'Content-Length: 100000'));
    const drip = setInterval(() => connection.send('x'), 20);
    t.after(() => clearInterval(drip));
    assert.match(await connection.closed(), /^HTTP\/1\.1 408 /);
    assert.deepEqual(exchanges, []);
  });

  check('a client that does not read its answer is ended', async (t) => {
    const large = Buffer.alloc(32 * 2 ** 20, 'x');
    const answer = () => ({ ...text(''), body: large });
    const { connect, listener } = await open(t, 'later', answer, timed({ writeMs: 100 }));
    const connection = connect();
    connection.send(head('GET /'));
    await connection.until(() => connection.received !== '');
    connection.socket.pause();
    await listener.drain();
    connection.socket.resume();
    await connection.closed();
    assert.ok(connection.received.length < large.length);
  });

  check('a connection on which nothing happens any more is ended', async (t) => {
    const { connect } = await open(t, 'at once', undefined, timed({ idleMs: 150 }));
    const connection = connect();
    connection.send(head('GET /'));
    assert.match(await connection.closed(), /^HTTP\/1\.1 200 [\s\S]*\r\n\r\n\/$/);
  });

  check(
    'a call that takes longer than a connection may be idle is answered, and the connection ended then',
    async (t) => {
      const { connect, exchanges } = await open(t, 'by hand', undefined, timed({ idleMs: 100 }));
      const connection = connect();
      connection.send(head('GET /'));
      await until(() => exchanges.length === 1);
      await delay(350);
      assert.equal(connection.received, '');
      exchanges[0]?.respond(text('/'));
      assert.match(await connection.closed(), /^HTTP\/1\.1 200 [\s\S]*\r\n\r\n\/$/);
    },
  );

  if (kind.listener !== 'tls') continue;
  check('a client that does not shake hands is ended', async (t) => {
    const { url, exchanges } = await open(t, 'at once', undefined, timed({ headersMs: 100 }));
    for (const bytes of ['', '\x16\x03\x01\x02\x00\x01\x00']) {
      const connection = new RawConnection(connect({ host: '127.0.0.1', port: Number(new URL(url).port) }));
      t.after(() => connection.socket.destroy());
      if (bytes !== '') connection.send(bytes);
      assert.equal(await connection.closed(), '');
    }
    assert.deepEqual(exchanges, []);
  });
}
