import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { StartError } from '../../src/core/start-error.ts';
import { countConnections } from '../../src/http/connections.ts';
import type { Exchange } from '../../src/http/exchange.ts';
import { until } from '../support/keyring.ts';
import { framingContract } from './listener-framing.ts';
import {
  answered,
  answeredByHand,
  contractFor,
  head,
  type ListenerKindUnderTest,
  maxBodyBytes,
  text,
} from './listener-harness.ts';
import { streamsContract } from './listener-streams.ts';

/** The promises of every listener; run for each kind. */
export function listenerContract(kind: ListenerKindUnderTest): void {
  const contract = contractFor(kind);
  const { check, open } = contract;

  framingContract(contract);
  streamsContract(contract);

  check('hands on method, path, query, the headers that matter, body and peer', async (t) => {
    const { exchanges, bodies, connect, listener } = await open(t);
    const connection = connect();
    connection.send(
      `${head('POST /a%2Fb/..//C?x=%20&y=?z', 'Authorization: Bearer t', 'X-Request-Id: r', 'X-Corr-Id: c', 'traceparent: p', 'x-deadline-ms: 5', 'If-None-Match: "a"', 'if-none-match: "b"', 'CONTENT-ENCODING: gzip', 'X-Forwarded-For: 192.0.2.1', 'Forwarded: for=192.0.2.3', 'X-Forwarded-For: 192.0.2.2', 'X-KMS-Discharge: d', 'x-kms-discharge: e', 'X-Approval-Token: f', 'X-Client-Certificate: g', 'Origin: https://h.test', 'Last-Event-ID: 7', 'Content-Length: 4')}\0\xffab`,
    );
    await connection.answers(1);
    const [exchange] = exchanges as [Exchange];
    assert.equal(exchange.method, 'post');
    assert.equal(exchange.path, '/a%2Fb/..//C');
    assert.equal(exchange.query, 'x=%20&y=?z');
    assert.deepEqual(exchange.headers, {
      ...{ authorization: 'Bearer t', severalAuthorizations: false, contentEncoding: 'gzip', requestId: 'r' },
      ...{ correlationId: 'c', traceparent: 'p', deadlineMs: '5', discharges: 'd,e', ifNoneMatch: '"a","b"' },
      ...{ xForwardedFor: '192.0.2.1,192.0.2.2', forwarded: 'for=192.0.2.3' },
      ...{ approval: 'f', claimedCertificate: 'g', origin: 'https://h.test', lastEventId: '7' },
    });
    assert.deepEqual(bodies[0], Buffer.from('\0\xffab', 'latin1'));
    assert.equal(listener.kind, kind.listener);
  });

  check('a request without any of that has nothing of it', async (t) => {
    const { exchanges, connect } = await open(t);
    const connection = connect();
    connection.send(head('GET /'));
    await connection.answers(1);
    const { method, path, query, headers, body } = exchanges[0] as Exchange;
    assert.deepEqual([method, path, query, body.length], ['get', '/', '', 0]);
    const { severalAuthorizations, ...others } = headers;
    assert.equal(severalAuthorizations, false);
    assert.deepEqual([...new Set(Object.values(others))], [undefined]);
  });

  check('several Authorization headers are none, and told', async (t) => {
    const { exchanges, connect } = await open(t);
    const connection = connect();
    connection.send(head('GET /', 'Authorization: Bearer a', 'authorization: Bearer a'));
    await connection.answers(1);
    const { authorization, severalAuthorizations } = (exchanges[0] as Exchange).headers;
    assert.deepEqual([authorization, severalAuthorizations], [undefined, true]);
  });

  check('the peer has its address, and its port where that is told', async (t) => {
    const { exchanges, connect } = await open(t, 'by hand');
    const connection = connect();
    connection.send(head('GET /'));
    await until(() => exchanges.length === 1);
    const { port, ...peer } = (exchanges[0] as Exchange).peer();
    assert.deepEqual(peer, {
      ...{ listener: kind.listener, certificate: undefined },
      ...(kind.listener === 'unix'
        ? { address: undefined, uid: process.getuid?.(), gid: process.getgid?.() }
        : { address: '127.0.0.1', uid: undefined, gid: undefined }),
    });
    assert.ok(port === undefined || port === connection.socket.localPort);
    assert.equal((exchanges[0] as Exchange).peer(), (exchanges[0] as Exchange).peer());
  });

  check('an answer has its status, headers, date and length, byte for byte', async (t) => {
    const headers = [
      ['content-type', 'application/json'],
      ['x-request-id', 'r'],
    ] as const;
    for (const [status, reason] of [
      ...([
        [200, 'OK'],
        [201, 'Created'],
        [404, 'Not Found'],
        [413, 'Content Too Large'],
      ] as const),
      ...([
        [429, 'Too Many Requests'],
        [503, 'Service Unavailable'],
      ] as const),
    ]) {
      for (const body of ['', 'Zoë', Buffer.from([0, 255, 13, 10])]) {
        for (const close of [false, true]) {
          const { connect } = await open(t, 'later', () => ({ status, headers, body, close }));
          const connection = connect();
          const bytes = Buffer.from(body).toString('latin1');
          connection.send(head('GET /'));
          await connection.answers(1);
          if (close) await connection.closed();
          assert.equal(
            connection.received.replace(/\r\nDate: [^\r]* GMT/, '\r\nDate: now').replace(kind.ownHeaders, ''),
            `HTTP/1.1 ${status} ${reason}\r\ncontent-type: application/json\r\nx-request-id: r\r\n` +
              `${close ? 'Connection: close\r\n' : ''}Date: now\r\nContent-Length: ${bytes.length}\r\n\r\n${bytes}`,
          );
          connection.socket.destroy();
        }
      }
    }
  });

  check('HEAD has the headers of an answer and not its body, and the connection goes on', async (t) => {
    const { connect } = await open(t, 'later');
    const connection = connect();
    connection.send(head('HEAD /abc'));
    await connection.until(() => connection.received.endsWith('\r\n\r\n'));
    assert.match(connection.received, /\r\nContent-Length: 4\r\n/);
    connection.send(head('GET /def', 'Connection: close'));
    assert.match((await connection.closed()).split('\r\n\r\n').slice(1).join('|'), /^HTTP[^|]*\|\/def$/);
  });

  check('a client that asks for it has its connection closed after the answer', async (t) => {
    const { connect } = await open(t, 'later');
    const connection = connect();
    connection.send(head('GET /a', 'Connection: close'));
    assert.match(await connection.closed(), /\r\n\r\n\/a$/);
  });

  check('behind an answer that closes nothing of a later segment is begun', async (t) => {
    const { exchanges, connect } = await open(t, 'later', () => ({ ...text('x'), close: true }));
    const connection = connect();
    connection.send(head('GET /'));
    await connection.answers(1);
    connection.send(head('GET /behind'));
    await connection.closed();
    assert.deepEqual(
      exchanges.map(({ path }) => path),
      ['/'],
    );
  });

  check('a client that waits for leave to send its body is told to go on', async (t) => {
    const { bodies, connect } = await open(t, 'later');
    const connection = connect();
    connection.send(head('POST /', 'Expect: 100-continue', 'Content-Length: 2'));
    await connection.until(() => connection.received === 'HTTP/1.1 100 Continue\r\n\r\n');
    connection.send('{}');
    await connection.until(() => /\r\n\r\nHTTP\/1\.1 200 [\s\S]*\r\n\r\n\/$/.test(connection.received));
    assert.deepEqual(bodies.map(String), ['{}']);
  });

  for (const how of ['at once', 'later'] as const) {
    check(`a client that has closed its sending side is answered ${how}`, async (t) => {
      const { connect } = await open(t, how);
      for (let round = 0; round < 10; round++) {
        const connection = connect();
        connection.send(`${head('POST /a', 'Content-Length: 2')}{}`);
        connection.socket.end();
        assert.match(await connection.closed(), /\r\n\r\n\/a$/);
      }
    });
  }

  check('requests in one segment are answered in order', async (t) => {
    const { connect } = await open(t, 'at once');
    const connection = connect();
    connection.send(['/1', '/2', '/3'].map((path) => head(`GET ${path}`)).join(''));
    assert.deepEqual(
      (await connection.answers(3)).map(({ body }) => body),
      ['/1', '/2', '/3'],
    );
  });

  check('a second request in one segment, the first not answered yet', async (t) => {
    const { exchanges, refusals, connect } = await open(t, 'later');
    const connection = connect();
    connection.send(['/1', '/2', '/3'].map((path) => head(`GET ${path}`)).join(''));
    if (kind.keepsSecondRequest) {
      assert.deepEqual(
        (await connection.answers(3)).map(({ body }) => body),
        ['/1', '/2', '/3'],
      );
      return;
    }
    assert.equal(await connection.closed(), '');
    assert.deepEqual(refusals, ['unanswered']);
    assert.deepEqual(
      exchanges.map(({ cancellation }) => cancellation.cancelled),
      [true],
    );
  });

  check('a request that comes while another is served is handed on after its answer', async (t) => {
    const { exchanges, connect } = await open(t, 'by hand');
    const connection = connect();
    connection.send(head('GET /1'));
    await until(() => exchanges.length === 1);
    connection.send(head('GET /2'));
    await answeredByHand(connect(), exchanges);
    assert.deepEqual(
      exchanges.map(({ path }) => path),
      ['/1', '/other'],
    );
    exchanges[0]?.respond(text('/1'));
    await until(() => exchanges.length === 3);
    exchanges[2]?.respond(text('/2'));
    assert.deepEqual(
      (await connection.answers(2)).map(({ body }) => body),
      ['/1', '/2'],
    );
  });

  check('many requests that nobody waits for end the connection, or are answered in order', async (t) => {
    const { connect } = await open(t, 'later');
    const connection = connect();
    connection.send(Array.from({ length: 5_000 }, (_, n) => head(`GET /${n}`)).join(''));
    await connection.until(() => connection.isClosed || connection.received.endsWith('\r\n\r\n/4999'));
    const bodies = (await connection.answers(0)).map(({ body }) => body);
    assert.deepEqual(
      bodies,
      bodies.map((_, n) => `/${n}`),
    );
    await answered(connect());
  });

  check('a client that hangs up while it is served harms nobody', async (t) => {
    const { exchanges, refusals, connect } = await open(t, 'by hand');
    for (const end of ['destroy', 'reset'] as const) {
      const connection = connect();
      connection.send(head('GET /'));
      await until(() => exchanges.length > 0);
      connection.leave(end);
      await connection.closed();
      await answeredByHand(connect(), exchanges);
      const [exchange] = exchanges as [Exchange];
      if (kind.noticesHangUp && end === 'reset') {
        await until(() => exchange.cancellation.cancelled);
        assert.deepEqual(refusals, ['unanswered']);
      }
      exchange.respond(text('x'.repeat(100_000)));
      exchanges.length = 0;
    }
    await answeredByHand(connect(), exchanges);
  });

  check('a large answer reaches a slow reader whole, and drain waits for it', async (t) => {
    const large = Buffer.alloc(16 * 2 ** 20, '0123456789abcdef');
    const { listener, connect } = await open(t, 'later', () => ({ ...text(''), body: large }));
    const connection = connect();
    connection.send(head('GET /'));
    await connection.until(() => connection.received !== '');
    connection.socket.pause();
    let drained = false;
    const draining = listener.drain().then(() => {
      drained = true;
    });
    await delay(20);
    assert.equal(drained, false);
    connection.socket.resume();
    await connection.until(() => connection.received.length >= large.length + 100);
    assert.ok(connection.received.endsWith(`\r\n\r\n${large.toString('latin1')}`));
    await draining;
  });

  check(
    'drain resolves at once where nothing leaves, and when the client of what leaves has gone',
    async (t) => {
      const large = Buffer.alloc(16 * 2 ** 20);
      const { listener, connect } = await open(t, 'later', () => ({ ...text(''), body: large }));
      await listener.drain();
      const connection = connect();
      connection.send(head('GET /'));
      await connection.until(() => connection.received !== '');
      connection.socket.pause();
      const draining = listener.drain();
      connection.leave('reset');
      await draining;
    },
  );

  check('after stopAccepting nobody connects, and open connections are served until close', async (t) => {
    const { listener, connect } = await open(t, 'later');
    const connection = connect();
    connection.send(head('GET /1'));
    await connection.answers(1);
    listener.stopAccepting();
    const late = connect();
    assert.equal(await late.closed(), '');
    connection.send(head('GET /2'));
    assert.equal((await connection.answers(2))[1]?.body, '/2');
    listener.close();
    await connection.closed();
  });

  check('an address that is taken is a StartError', async (t) => {
    const { url } = await open(t);
    const second = kind.make(
      { maxBodyBytes, bodyTimeoutMs: 1_000, connections: countConnections({ total: 1, perAddress: 1 }) },
      url,
    );
    await assert.rejects(
      second.listen({ onExchange() {}, refused: () => text(''), onRefusal() {} }),
      StartError,
    );
    second.close();
  });

  check(
    'connections beyond the limits are closed and counted, and their places are free again',
    async (t) => {
      // A Unix socket has no address.
      const unix = kind.listener === 'unix';
      const connections = countConnections({ total: unix ? 4 : 100, perAddress: 4 });
      const { refusals, connect } = await open(t, 'later', undefined, { connections });
      const within = Array.from({ length: 4 }, connect);
      for (const connection of within) await answered(connection);
      assert.equal(await connect().closed(), '');
      assert.deepEqual(refusals, [unix ? 'too_many_connections' : 'too_many_of_address']);
      for (const connection of within) {
        connection.socket.destroy();
        await connection.closed();
      }
      await until(async () => {
        const connection = connect();
        connection.send(head('GET /'));
        await connection.until(() => connection.isClosed || connection.received !== '');
        return connection.received !== '';
      });
    },
  );
}
