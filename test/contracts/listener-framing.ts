import assert from 'node:assert/strict';
import { until } from '../support/keyring.ts';
import { answered, type Contract, head, maxBodyBytes, text } from './listener-harness.ts';

/** Limits, and where requests end. */
export function framingContract({ kind, check, open }: Contract): void {
  check(
    'a body of the limit is taken and one more byte refused with TooLarge before it is read',
    async (t) => {
      const { bodies, refusals, connect } = await open(t);
      const most = connect();
      const body = Buffer.alloc(maxBodyBytes, 'ab');
      most.send(head('POST /', `Content-Length: ${body.length}`));
      most.send(body);
      assert.equal((await most.answers(1))[0]?.status, 200);
      assert.deepEqual(bodies[0], body);
      for (const length of [maxBodyBytes + 1, 999_999_999_999_999]) {
        const more = connect();
        more.send(`${head('POST /', `Content-Length: ${length}`)}{`);
        assert.match(
          await more.closed(),
          /^HTTP\/1\.1 413 [\s\S]*\r\nx-refused: TooLarge\r\nConnection: close\r\n/,
        );
      }
      assert.deepEqual(refusals, ['TooLarge', 'TooLarge']);
      assert.equal(bodies.length, 1);
    },
  );

  check('a body that comes in pieces, and headers in bytes, are one request', async (t) => {
    const { bodies, connect } = await open(t, 'later');
    const connection = connect();
    for (const byte of `${head('POST /', 'Content-Length: 10')}0123456789`) {
      connection.send(byte);
      await new Promise(setImmediate);
    }
    assert.equal((await connection.answers(1))[0]?.status, 200);
    assert.deepEqual(bodies.map(String), ['0123456789']);
  });

  check('a body that is too slow is refused with SlowBody, and never handed on', async (t) => {
    const { exchanges, refusals, connect } = await open(t, 'at once', undefined, { bodyTimeoutMs: 50 });
    const connection = connect();
    connection.send(`${head('POST /', 'Content-Length: 10')}012345678`);
    assert.match(await connection.closed(), /^HTTP\/1\.1 408 [\s\S]*\r\nConnection: close\r\n/);
    assert.deepEqual([refusals, exchanges], [['SlowBody'], []]);
  });

  check('a request that breaks off is never handed on', async (t) => {
    const { exchanges, connect } = await open(t);
    for (const bytes of [
      'GET / HT',
      head('GET /').slice(0, -2),
      `${head('POST /', 'Content-Length: 3')}{}`,
    ]) {
      for (const end of ['end', 'destroy', 'reset'] as const) {
        const connection = connect();
        connection.send(bytes);
        await answered(connect());
        connection.leave(end);
        assert.doesNotMatch(await connection.closed(), /^HTTP\/1\.1 2/);
      }
    }
    assert.ok(exchanges.every(({ path }) => path === '/other'));
  });

  check('headers have 8 KiB and 99 lines; more is refused with 431', async (t) => {
    const { exchanges, refusals, connect } = await open(t);
    const long = (bytes: number) => head('GET /', `X-Long: ${'x'.repeat(bytes)}`);
    const small = connect();
    small.send(long(8 * 1024 - 100));
    assert.equal((await small.answers(1))[0]?.status, 200);
    for (const bytes of [8 * 1024, 15 * 1024, 17 * 1024, 100_000]) {
      const connection = connect();
      connection.send(long(bytes) + head('GET /behind'));
      assert.match(await connection.closed(), /^HTTP\/1\.1 431 /, String(bytes));
    }
    const many = connect();
    many.send(head('GET /', ...Array.from({ length: 150 }, (_, n) => `X${n}: y`)) + head('GET /behind'));
    assert.match(await many.closed(), /^HTTP\/1\.1 431 /);
    assert.equal(exchanges.length, 1);
    assert.ok(refusals.every((failure) => failure === 'HeadersTooLarge'));
  });

  const chunks = '2\r\n{}\r\n0\r\n\r\n';
  const doubtful: Readonly<Record<string, string>> = {
    'two equal lengths': `${head('POST /', 'Content-Length: 2', 'Content-Length: 2')}{}`,
    'two lengths': `${head('POST /', 'Content-Length: 0', 'Content-Length: 2')}{}`,
    'a list of lengths': `${head('POST /', 'Content-Length: 2, 2')}{}`,
    'a length with a sign': `${head('POST /', 'Content-Length: +2')}{}`,
    'a hexadecimal length': `${head('POST /', 'Content-Length: 0x2')}{}`,
    'a length of 20 digits': `${head('POST /', `Content-Length: ${'9'.repeat(20)}`)}{}`,
    'a length of 64 bits and 2': `${head('POST /', `Content-Length: ${2n ** 64n + 2n}`)}{}`,
    'an empty length': `${head('POST /', 'Content-Length:')}{}`,
    'a space before the colon of a length': `${head('POST /', 'Content-Length : 2')}{}`,
    'a length and chunks': head('POST /', 'Content-Length: 2', 'Transfer-Encoding: chunked') + chunks,
    'chunks and a length': head('POST /', 'Transfer-Encoding: chunked', 'Content-Length: 2') + chunks,
    'the encoding xchunked': head('POST /', 'Transfer-Encoding: xchunked') + chunks,
    'the encoding identity': `${head('POST /', 'Transfer-Encoding: identity')}{}`,
    'the encoding gzip, chunked': head('POST /', 'Transfer-Encoding: gzip, chunked') + chunks,
    'two encodings': head('POST /', 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked') + chunks,
    'a folded line': head('POST /', 'X-A: b', ' Transfer-Encoding: chunked') + chunks,
    'a bare line feed': head('POST /', 'X-A: b\nTransfer-Encoding: chunked') + chunks,
    'a NUL in a header': `${head('POST /', 'X-A: b\0')}{}`,
    'a header without a colon': head('GET /', 'nonsense'),
    'a space in a header name': head('GET /', 'X Y: z'),
    'no Host': 'GET / HTTP/1.1\r\n\r\n',
    'two Hosts': head('GET /', 'Host: y'),
    'HTTP/1.0': 'GET / HTTP/1.0\r\nHost: x\r\n\r\n',
    'an absolute path': head('GET http://x/'),
    'an asterisk': head('OPTIONS *'),
    'a greeting of HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'a greeting of TLS': '\x16\x03\x01\x00\xf1\x01\x00\x00\xed\x03\x03'.padEnd(200, '\xaa'),
  };
  for (const [what, bytes] of Object.entries(doubtful)) {
    check(`is refused or dropped, with all that is behind it: ${what}`, async (t) => {
      const { exchanges, connect } = await open(t);
      const connection = connect();
      connection.send(bytes + head('GET /behind').repeat(3));
      const statuses = [...(await connection.closed()).matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(
        ([, status]) => status,
      );
      assert.ok(statuses.length === 0 || (statuses.length === 1 && /^[45]/.test(statuses[0] as string)));
      assert.deepEqual(exchanges, []);
    });
  }

  check('a bare carriage return is never a request', async (t) => {
    const { exchanges, connect } = await open(t);
    const within = `${head('POST /', 'X-A: b\rTransfer-Encoding: chunked', 'Content-Length: 2')}{}`;
    for (const bytes of [within, head('GET /').replaceAll('\r\n', '\r')]) {
      const connection = connect();
      connection.send(bytes + head('GET /behind'));
      await answered(connect());
      connection.socket.end();
      await connection.closed();
    }
    assert.deepEqual([...new Set(exchanges.map(({ path }) => path))], ['/other']);
  });

  check('two lengths are refused with the status of the handlers, once', async (t) => {
    const { refusals, connect } = await open(t);
    const connection = connect();
    connection.send(doubtful['two lengths'] as string);
    assert.match(
      await connection.closed(),
      /^HTTP\/1\.1 400 [\s\S]*\r\nx-refused: framing\r\nConnection: close\r\n/,
    );
    assert.deepEqual(refusals, ['framing']);
  });

  check(
    `chunks are ${kind.takesChunks ? 'a body, within the same limits' : 'refused with 411'}`,
    async (t) => {
      const { bodies, refusals, connect } = await open(t);
      const connection = connect();
      connection.send(`${head('POST /', 'Transfer-Encoding: chunked')}3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n`);
      if (!kind.takesChunks) {
        assert.match(await connection.closed(), /^HTTP\/1\.1 411 /);
        assert.deepEqual(refusals, ['LengthRequired']);
        return;
      }
      assert.equal((await connection.answers(1))[0]?.status, 200);
      assert.deepEqual(bodies.map(String), ['abcde']);
      const large = connect();
      large.send(head('POST /', 'Transfer-Encoding: chunked'));
      for (let n = 0; n < 11; n++) large.send(`2710\r\n${'x'.repeat(10_000)}\r\n`);
      assert.match(await large.closed(), /^(HTTP\/1\.1 413 |$)/);
      const broken = connect();
      broken.send(`${head('POST /', 'Transfer-Encoding: chunked')}3\r\nabcd\r\n`);
      assert.match(await broken.closed(), /^HTTP\/1\.1 400 /);
      assert.deepEqual([refusals, bodies.length], [['TooLarge', 'framing'], 1]);
    },
  );

  for (const [line, body] of [
    ['Transfer-Encoding: xchunked', '0\r\n\r\n'],
    ['Content-Length: 5\r\nContent-Length: 0', '0\r\n\r\n'],
  ] as const) {
    check(`a client that reads no answer has nothing begun behind a refused request: ${line}`, async (t) => {
      const large = 'x'.repeat(15_000);
      const { exchanges, refusals, connect, listener } = await open(t, 'at once', () => text(large));
      const connection = connect();
      connection.socket.pause();
      // 30 MB of answers: several times what a system buffers for one connection whose client does not read.
      const unread = 2_000;
      connection.send(head('GET /').repeat(unread) + head('POST /', line) + body + head('GET /behind'));
      // Refused, or ended because of so many at once.
      await until(() => refusals.length > 0);
      connection.socket.resume();
      await connection.closed();
      await listener.drain();
      assert.ok(exchanges.length <= unread);
      assert.ok(!exchanges.some(({ path }) => path === '/behind'));
    });
  }
}
