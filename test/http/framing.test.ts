import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import { until } from '../support/keyring.ts';
import { exchange, metric, RawConnection } from '../support/requests.ts';
import { call, helloWorldB3, type ServiceProcess, startService } from '../support/service.ts';

const maxConnections = 64;

describe('framing', { timeout: 120_000 }, () => {
  let service: ServiceProcess;
  let kid: string;
  let authorization: string;

  before(async () => {
    const connections = String(maxConnections);
    service = await startService({
      env: { KMS_MAX_CONNECTIONS: connections, KMS_MAX_CONNECTIONS_PER_ADDRESS: connections },
    });
    authorization = `Host: x\r\nAuthorization: Bearer ${service.token}\r\n`;
    const made = await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'ed25519' });
    kid = made.body.kid;
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
    assert.equal(service.log.filter((line) => /"level":"(error|fatal)"/.test(line)).join('\n'), '');
    assert.ok(!/\bat .*\.ts:\d/.test(service.errors()), service.errors());
  });

  const signBody = () => JSON.stringify({ kid, payload_b3: helloWorldB3 });
  const signRequest = (more = '') =>
    `POST /v1/kms/sign HTTP/1.1\r\n${authorization}${more}Content-Length: ${signBody().length}\r\n\r\n${signBody()}`;
  const createBody = (purpose: string) => `{"purpose":"${purpose}","alg":"ed25519"}`;
  const createRequest = (purpose: string) =>
    `POST /v1/kms/keys HTTP/1.1\r\n${authorization}Content-Length: ${createBody(purpose).length}\r\n\r\n${createBody(purpose)}`;

  async function keysOf(purpose: string): Promise<number> {
    const answer = await call(service, service.token, 'GET', `/v1/kms/keys?purpose=${purpose}`);
    assert.equal(answer.status, 200);
    return answer.body.keys.length;
  }

  async function assertSigns(): Promise<void> {
    const signed = await call(service, service.token, 'POST', '/v1/kms/sign', {
      kid,
      payload_b3: helloWorldB3,
    });
    assert.equal(signed.status, 200);
  }

  // Where one request ends and the next begins is in doubt, so nothing behind it may run. Each is sent with a request
  // behind it that would make a key, and is itself one that would.
  const doubtful: Readonly<Record<string, (body: string, rest: string) => string>> = {
    'two equal lengths': (body, rest) => lengths(body.length, body.length) + body + rest,
    'two lengths, the first too short': (body, rest) => lengths(0, body.length) + body + rest,
    'two lengths, the second too short': (body, rest) => lengths(body.length, 0) + body + rest,
    'two lengths, the second over the next request': (body, rest) =>
      lengths(body.length, body.length + rest.length) + body + rest,
    'three lengths': (body, rest) => lengths(body.length, body.length, body.length) + body + rest,
    'a list of lengths': (body, rest) => lengths(`${body.length}, ${body.length}`) + body + rest,
    'a length with a plus': (body, rest) => lengths(`+${body.length}`) + body + rest,
    'a length with a minus': (body, rest) => lengths(`-${body.length}`) + body + rest,
    'a hexadecimal length': (body, rest) => lengths(`0x${body.length.toString(16)}`) + body + rest,
    'a length with a fraction': (body, rest) => lengths(`${body.length}.0`) + body + rest,
    'a length with an exponent': (body, rest) => lengths('4e1') + body + rest,
    'a length with a space within': (body, rest) => lengths('3 9') + body + rest,
    'a length with a letter': (body, rest) => lengths(`${body.length}x`) + body + rest,
    'an empty length': (body, rest) => lengths('') + body + rest,
    'a length of 20 digits': (body, rest) => lengths('9'.repeat(20)) + body + rest,
    'a length that 64 bits wrap to the body': (body, rest) =>
      lengths(String(2n ** 64n + BigInt(body.length))) + body + rest,
    'a length that 32 bits wrap to the body': (body, rest) =>
      lengths(String(2n ** 32n + BigInt(body.length))) + body + rest,
    'a length of 2^63 - 1': (body, rest) => lengths(String(2n ** 63n - 1n)) + body + rest,
    'a space before the colon of the length': (body, rest) =>
      head(`Content-Length : ${body.length}`) + body + rest,
    chunks: (body, rest) => head('Transfer-Encoding: chunked') + chunked(body) + rest,
    'chunks, in capitals': (body, rest) => head('TRANSFER-ENCODING: CHUNKED') + chunked(body) + rest,
    'chunks with an extension': (body, rest) =>
      head('Transfer-Encoding: chunked') +
      chunked(body).replace('\r\n', `;ext="${'x'.repeat(12)}"\r\n`) +
      rest,
    'chunks with a trailer': (body, rest) =>
      head('Transfer-Encoding: chunked') + chunked(body).replace(/\r\n$/, 'X-A: b\r\n\r\n') + rest,
    'chunks of absurd size': (_body, rest) =>
      `${head('Transfer-Encoding: chunked')}ffffffffffffffff\r\n${rest}`,
    'the encoding xchunked': (body, rest) => head('Transfer-Encoding: xchunked') + chunked(body) + rest,
    'the encoding identity': (body, rest) => head('Transfer-Encoding: identity') + body + rest,
    'the encoding gzip, chunked': (body, rest) =>
      head('Transfer-Encoding: gzip, chunked') + chunked(body) + rest,
    'the encoding chunked twice': (body, rest) =>
      head('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked') + chunked(body) + rest,
    'the encoding chunked and identity': (body, rest) =>
      head('Transfer-Encoding: chunked', 'Transfer-Encoding: identity') + chunked(body) + rest,
    'an empty encoding': (body, rest) => head('Transfer-Encoding:') + body + rest,
    'a tab before the encoding': (body, rest) => head('Transfer-Encoding:\tchunked') + chunked(body) + rest,
    'a vertical tab before the encoding': (body, rest) =>
      head('Transfer-Encoding:\x0bchunked') + chunked(body) + rest,
    'a space before the colon of the encoding': (body, rest) =>
      head('Transfer-Encoding : chunked') + chunked(body) + rest,
    'a folded encoding': (body, rest) => head('Transfer-Encoding:', ' chunked') + chunked(body) + rest,
    'an encoding in a folded line': (body, rest) =>
      head(`Content-Length: ${body.length}`, 'X-A: b', ' Transfer-Encoding: chunked') + body + rest,
    'an encoding behind a bare line feed': (body, rest) =>
      head(`Content-Length: ${body.length}`, 'X-A: b\nTransfer-Encoding: chunked') + body + rest,
    'an encoding behind a NUL': (body, rest) =>
      head(`Content-Length: ${body.length}`, 'X-A: b\0Transfer-Encoding: chunked') + body + rest,
    'a length, then chunks': (body, rest) =>
      head(`Content-Length: ${body.length}`, 'Transfer-Encoding: chunked') + body + rest,
    'chunks, then a length': (body, rest) =>
      head('Transfer-Encoding: chunked', `Content-Length: ${chunked(body).length}`) + chunked(body) + rest,
    'a length of 0, then chunks': (body, rest) =>
      head('Content-Length: 0', 'Transfer-Encoding: chunked') + chunked(body) + rest,
    'a length over the next request, then chunks': (body, rest) =>
      head(`Content-Length: ${chunked(body).length + rest.length}`, 'Transfer-Encoding: chunked') +
      chunked(body) +
      rest,
  };
  const head = (...lines: string[]) =>
    `POST /v1/kms/keys HTTP/1.1\r\n${authorization}${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
  const lengths = (...values: (string | number)[]) =>
    head(...values.map((value) => `Content-Length: ${value}`));
  const chunked = (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

  for (const [index, [what, build]] of Object.entries(doubtful).entries()) {
    test(`drops the connection: ${what}`, async () => {
      const purpose = `doubtful-${index}`;
      for (const bytes of [
        build(createBody(purpose), createRequest(purpose)),
        // As the body of a request that takes none.
        build(createBody(purpose), createRequest(purpose)).replace(/^POST/, 'GET'),
      ]) {
        const connection = new RawConnection(service.port);
        connection.send(bytes);
        const received = await connection.closed();
        assertNothingServed(received);
        // The library's own pages are those that it refuses before a handler is called.
        if (received.includes('application/json')) assertRefusedWhole(received);
      }
      assert.equal(await keysOf(purpose), 0);
    });
  }

  test('a Transfer-Encoding is answered 411 and two lengths 400, once, and a GET behind it is not served', async () => {
    const get = `GET /healthz HTTP/1.1\r\n${authorization}\r\n`;
    for (const [bytes, status] of [
      [head('Transfer-Encoding: chunked') + chunked(createBody('once')) + get, 411],
      [`${lengths(2, 2)}{}${get}`, 400],
    ] as const) {
      const connection = new RawConnection(service.port);
      connection.send(bytes);
      const received = await connection.closed();
      assert.match(received, new RegExp(`^HTTP/1\\.1 ${status} `));
      assertRefusedWhole(received);
      assert.equal(received.split('HTTP/1.1 ').length, 2, received);
    }
  });

  test('clients that stream a body are told 411', async () => {
    const body = new Blob([createBody('streamed')]).stream();
    const init = {
      method: 'POST',
      body,
      duplex: 'half',
      headers: { authorization: `Bearer ${service.token}` },
    };
    const answer = await fetch(`${service.url}/v1/kms/keys`, init as RequestInit);
    assert.equal(answer.status, 411);
    const { error } = (await answer.json()) as { error: { code: string } };
    assert.equal(error.code, 'Unsupported');
  });

  test('a body over the limit and a request behind it in one segment: the latter is not served', async () => {
    const connection = new RawConnection(service.port);
    connection.send(
      `${head(`Content-Length: ${2 ** 20 + 1}`)}{}${createRequest('behind-413')}`.padEnd(100_000, 'x'),
    );
    const received = await connection.closed();
    assert.match(received, /^HTTP\/1\.1 413 /);
    assertRefusedWhole(received);
  });

  test('a body that is too slow is answered 408', async () => {
    const connection = new RawConnection(service.port);
    connection.send(signRequest().slice(0, -10));
    // Its time begins with its first bytes, and is 5 s.
    const received = await connection.closed();
    assert.match(received, /^HTTP\/1\.1 408 Request Timeout\r\n/);
    assertRefusedWhole(received);
    assert.equal(await metric(service, 'kms_reject_total', 'reason="slow_body"'), 1);
  });

  test('a bare carriage return, or line ends only, are never a request', async () => {
    const body = createBody('bare');
    for (const bytes of [
      head(`Content-Length: ${body.length}`, 'X-A: b\rTransfer-Encoding: chunked') + body,
      `POST /v1/kms/keys HTTP/1.1\r${authorization.replaceAll('\r\n', '\r')}\r\r${body}`,
      '\r\n\r\n\r\n\r\n',
    ]) {
      const connection = new RawConnection(service.port);
      connection.send(bytes + createRequest('bare'));
      // An answer to another request proves that these bytes were read.
      await assertSigns();
      connection.socket.end();
      assertNothingServed(await connection.closed());
      assert.equal(await keysOf('bare'), 0);
    }
  });

  const broken: Readonly<Record<string, () => string>> = {
    'no Host': () => 'GET /healthz HTTP/1.1\r\n\r\n',
    'two Hosts': () => 'GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
    'HTTP/1.0': () => `GET /healthz HTTP/1.0\r\n${authorization}\r\n`,
    'HTTP/2': () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'an absolute path': () => `GET http://x/healthz HTTP/1.1\r\n${authorization}\r\n`,
    'a greeting of TLS': () => '\x16\x03\x01\x00\xf1\x01\x00\x00\xed\x03\x03'.padEnd(200, '\xaa'),
    'a header without a colon': () => `GET /healthz HTTP/1.1\r\n${authorization}nonsense\r\n\r\n`,
    'a space in a header name': () => `GET /healthz HTTP/1.1\r\n${authorization}X Y: z\r\n\r\n`,
  };
  for (const [what, bytes] of Object.entries(broken)) {
    test(`refuses and closes: ${what}`, async () => {
      const connection = new RawConnection(service.port);
      connection.send(bytes());
      connection.send(createRequest('behind-nonsense'));
      assertNothingServed(await connection.closed());
      assert.equal(await keysOf('behind-nonsense'), 0);
    });
  }

  test('headers of more than 8 KiB are answered 431, with the envelope up to 16 KiB', async () => {
    const withHeader = (bytes: number) =>
      `GET /healthz HTTP/1.1\r\n${authorization}X-Long: ${'x'.repeat(bytes)}\r\n\r\n`;
    const small = new RawConnection(service.port);
    small.send(withHeader(8 * 1024 - authorization.length - 20));
    assert.equal((await small.answers(1))[0]?.status, 200);
    small.socket.destroy();
    for (const bytes of [8 * 1024, 15 * 1024]) {
      const connection = new RawConnection(service.port);
      connection.send(withHeader(bytes) + createRequest('behind-431'));
      const received = await connection.closed();
      assert.match(received, /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/);
      assertRefusedWhole(received);
    }
    for (const request of [withHeader(16 * 1024), withHeader(100_000)]) {
      const connection = new RawConnection(service.port);
      connection.send(request);
      assert.match(await connection.closed(), /^HTTP\/1\.1 431 /);
    }
    assert.equal(await keysOf('behind-431'), 0);
  });

  test('two Authorization headers are answered 400, whatever they hold and wherever they go', async () => {
    for (const [first, second] of [
      [service.token, service.token],
      ['nonsense', service.token],
      [service.token, 'nonsense'],
    ]) {
      for (const path of ['/v1/kms/keys', '/healthz']) {
        const connection = new RawConnection(service.port);
        connection.send(
          `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${first}\r\nauthorization: Bearer ${second}\r\n\r\n`,
        );
        const [answer] = await connection.answers(1);
        assert.equal(answer?.status, 400);
        assert.match(answer?.body ?? '', /"code":"BadRequest"/);
        connection.socket.destroy();
      }
    }
  });

  test('a member given twice is 400, and Content-Encoding: identity is none', async () => {
    const path = '/v1/kms/keys';
    const twice = '{"purpose":"twice","alg":"ed25519","purpose":"twice"}';
    assert.equal((await call(service, service.token, 'POST', path, twice)).status, 400);
    assert.equal(await keysOf('twice'), 0);
    const identity = { 'content-encoding': 'Identity' };
    assert.equal(
      (await call(service, service.token, 'POST', path, createBody('identity'), identity)).status,
      201,
    );
  });

  test('HEAD is answered where GET is', async () => {
    for (const [path, status] of [
      ['/v1/kms/keys', 200],
      [`/v1/kms/keys/${encodeURIComponent(kid)}`, 200],
      ['/v1/kms/audit/checkpoint', 200],
      ['/metrics', 200],
      ['/v1/kms/sign', 405],
      [`/v1/kms/keys/${encodeURIComponent(kid)}/export`, 403],
    ] as const) {
      const { status: had, text } = await exchange(service, { method: 'HEAD', path, token: service.token });
      assert.equal(had, status, path);
      assert.equal(text, '');
    }
  });

  test('a body over the limit is answered 413 before it is read, and the connection closed', async () => {
    for (const length of [2 ** 20 + 1, 2 ** 32, 999_999_999_999_999]) {
      const connection = new RawConnection(service.port);
      connection.send(`POST /v1/kms/sign HTTP/1.1\r\n${authorization}Content-Length: ${length}\r\n\r\n{`);
      const received = await connection.closed();
      assert.match(received, /^HTTP\/1\.1 413 Content Too Large\r\n/);
      assert.match(received, /\r\nconnection: close\r\n/i);
      assert.match(received, /"code":"TooLarge"/);
    }
    // All of it is sent all the same, and a request behind it, which does not run.
    const connection = new RawConnection(service.port);
    const body = 'x'.repeat(2 ** 20 + 1);
    connection.send(
      `POST /v1/kms/sign HTTP/1.1\r\n${authorization}Content-Length: ${body.length}\r\n\r\n${body}`,
    );
    connection.send(createRequest('behind-too-large'));
    // Writing to a closed connection resets it, and then the answer may be lost on the way.
    assert.match(await connection.closed(), /^(HTTP\/1\.1 413 |$)/);
    assert.equal(await keysOf('behind-too-large'), 0);
  });

  test('a request in pieces of one byte is one request', async () => {
    const connection = new RawConnection(service.port);
    for (const byte of signRequest()) {
      connection.send(byte);
      await new Promise(setImmediate);
    }
    const [answer] = await connection.answers(1);
    assert.equal(answer?.status, 200);
    assert.equal(JSON.parse(answer?.body ?? '').kid, kid);
    connection.socket.destroy();
  });

  test('a length with leading zeros is its number', async () => {
    const connection = new RawConnection(service.port);
    connection.send(signRequest().replace('Content-Length: ', 'Content-Length: 000'));
    assert.equal((await connection.answers(1))[0]?.status, 200);
    connection.socket.destroy();
  });

  test('a body that breaks off is never acted on, though what came is a whole request', async () => {
    const body = createBody('broken-off');
    const truncated = `POST /v1/kms/keys HTTP/1.1\r\n${authorization}Content-Length: ${body.length + 1}\r\n\r\n${body}`;
    for (const end of ['end', 'destroy', 'resetAndDestroy'] as const) {
      const connection = new RawConnection(service.port);
      connection.send(truncated);
      // An answer to another request proves that these bytes were read.
      await assertSigns();
      connection.socket[end]();
      assert.equal(await connection.closed(), '');
    }
    await assertSigns();
    assert.equal(await keysOf('broken-off'), 0);
  });

  test('bodies that never come hold up nobody else', async () => {
    const stalled = Array.from({ length: 40 }, () => new RawConnection(service.port));
    for (const [index, connection] of stalled.entries()) {
      connection.send(index % 2 === 0 ? signRequest().slice(0, -10) : signRequest().slice(0, 60));
    }
    for (let n = 0; n < 20; n++) await assertSigns();
    // They were only slow: with the rest of it each has its answer.
    for (const [index, connection] of stalled.entries()) {
      connection.send(index % 2 === 0 ? signRequest().slice(-10) : signRequest().slice(60));
      assert.equal((await connection.answers(1))[0]?.status, 200);
      connection.socket.destroy();
    }
  });

  test('requests sent without waiting are answered in their order, or the connection is closed', async () => {
    const together = new RawConnection(service.port);
    const ids = ['1', '2', '3'].map((digit) => `00000000-0000-4000-8000-00000000000${digit}`);
    together.send(
      ids.map((id) => `GET /healthz HTTP/1.1\r\n${authorization}X-Request-Id: ${id}\r\n\r\n`).join(''),
    );
    const answers = await together.answers(3);
    assert.deepEqual(
      answers.map((answer) => /x-request-id: (\S+)/i.exec(answer.head)?.[1]),
      ids,
    );
    together.socket.destroy();

    // A second one while the first is being signed.
    const signing = new RawConnection(service.port);
    signing.send(ids.map((id) => signRequest(`X-Request-Id: ${id}\r\n`)).join(''));
    await signing.until(() => signing.isClosed || signing.received.split('"signature_b64"').length > 3);
    const signed = await signing.answers(0);
    assert.deepEqual(
      signed.map((answer) => /x-request-id: (\S+)/i.exec(answer.head)?.[1]),
      ids.slice(0, signed.length),
    );
    signing.socket.destroy();
    await assertSigns();
  });

  test('HEAD has the headers of GET and no body', async () => {
    const connection = new RawConnection(service.port);
    connection.send(`HEAD /version HTTP/1.1\r\n${authorization}\r\n`);
    await connection.until(() => connection.received.includes('\r\n\r\n'));
    connection.send(`HEAD /v1/kms/nowhere HTTP/1.1\r\n${authorization}\r\n`);
    await connection.until(() => connection.received.split('\r\n\r\n').length > 2);
    connection.send(`GET /version HTTP/1.1\r\n${authorization}Connection: close\r\n\r\n`);
    const parts = (await connection.closed()).split('\r\n\r\n');
    assert.equal(parts.length, 4, connection.received);
    const [version = '', nowhere = '', , body = ''] = parts;
    assert.match(version, /^HTTP\/1\.1 200 OK\r\n/);
    assert.equal(Number(/content-length: (\d+)/i.exec(version)?.[1]), body.length);
    assert.match(nowhere, /^HTTP\/1\.1 404 Not Found\r\n/);
    assert.equal(JSON.parse(body).name, 'intaglio');
  });

  test('callers that go while they are served leave nothing behind', async () => {
    for (let round = 0; round < 10; round++) {
      const leaving = Array.from({ length: 30 }, () => new RawConnection(service.port));
      for (const [index, connection] of leaving.entries()) {
        connection.send(signRequest());
        if (index % 3 === 0) connection.socket.end();
        else if (index % 3 === 1) connection.socket.resetAndDestroy();
        else connection.socket.once('connect', () => setImmediate(() => connection.socket.destroy()));
      }
      await Promise.all(leaving.map((connection) => connection.closed()));
    }
    await assertSigns();
    await until(async () => (await metric(service, 'kms_queue_depth')) === 0);
  });

  test('connections beyond the limit are closed, those within it served', async () => {
    // Those of earlier tests and of fetch may be open still; a few more than the limit show it all the same.
    const many: RawConnection[] = [];
    for (let n = 0; n < maxConnections + 10; n++) {
      const connection = new RawConnection(service.port);
      connection.send(`GET /healthz HTTP/1.1\r\n${authorization}\r\n`);
      many.push(connection);
    }
    for (const connection of many)
      await connection.until(() => connection.isClosed || connection.received !== '');
    const refused = many.filter((connection) => connection.received === '');
    assert.ok(refused.length >= 10 && refused.length < maxConnections, `${refused.length} refused`);
    assert.ok(refused.every((connection) => connection.isClosed));
    for (const connection of many) connection.socket.destroy();
    await Promise.all(many.map((connection) => connection.closed()));
    await assertSigns();
    const counted = await metric(service, 'kms_reject_total', 'reason="too_many_connections"');
    assert.ok(counted >= refused.length);
  });

  test('nothing that was dropped has made a key, even later', async () => {
    for (const index of Object.keys(doubtful).keys()) assert.equal(await keysOf(`doubtful-${index}`), 0);
  });

  test('what was dropped is counted', async () => {
    assert.ok((await metric(service, 'kms_reject_total', 'reason="framing"')) > 20);
    assert.ok((await metric(service, 'kms_reject_total', 'reason="too_large"')) >= 4);
    const { status } = await exchange(service, { method: 'GET', path: '/readyz' });
    assert.equal(status, 200);
  });
});

/** At most one answer, which is a refusal. */
function assertNothingServed(received: string): void {
  const statuses = [...received.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map((match) => Number(match[1]));
  assert.ok(statuses.length <= 1, received);
  assert.ok(
    statuses.every((status) => status >= 400 && status < 600 && status !== 500),
    received,
  );
}

/** One answer with the envelope, which says that the connection closes. */
function assertRefusedWhole(received: string): void {
  const [head = '', body = ''] = received.split('\r\n\r\n');
  assert.match(head, /\r\nconnection: close(\r\n|$)/i);
  assert.equal(body.length, Number(/content-length: (\d+)/i.exec(head)?.[1]));
  const { error } = JSON.parse(body);
  assert.equal(typeof error.request_id, 'string');
}
