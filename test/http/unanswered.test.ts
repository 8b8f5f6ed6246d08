import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import test, { after, before, describe } from 'node:test';
import { metric, RawConnection } from '../support/requests.ts';
import { call, helloWorldB3, type ServiceProcess, startService } from '../support/service.ts';

/** What is carried out is answered, and what cannot be answered is not carried out. */
describe('requests with something behind them', { timeout: 120_000 }, () => {
  let service: ServiceProcess;
  let authorization: string;
  let kid: string;

  before(async () => {
    service = await startService();
    authorization = `Host: x\r\nAuthorization: Bearer ${service.token}\r\n`;
    kid = (await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'ed25519' })).body
      .kid;
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
  });

  const post = (path: string, body: unknown) => {
    const text = JSON.stringify(body);
    return `POST ${path} HTTP/1.1\r\n${authorization}Content-Length: ${text.length}\r\n\r\n${text}`;
  };
  const create = (purpose: string) => post('/v1/kms/keys', { purpose, alg: 'ed25519' });
  const sign = () => post('/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  const keysOf = async (purpose: string) =>
    (await call(service, service.token, 'GET', `/v1/kms/keys?purpose=${purpose}`)).body.keys.length;
  const signatures = () => metric(service, 'kms_ops_total', 'op="sign",alg="ed25519",result="ok"');

  test('a client that has said all that it will say is answered', async () => {
    const requests = {
      create: [create('half-closed'), 201],
      sign: [sign(), 200],
      list: [`GET /v1/kms/keys HTTP/1.1\r\n${authorization}\r\n`, 200],
      metrics: [`GET /metrics HTTP/1.1\r\n${authorization}\r\n`, 200],
    } as const;
    for (const [what, [bytes, status]] of Object.entries(requests)) {
      for (let round = 0; round < 10; round++) {
        const connection = new RawConnection(service.port);
        connection.send(bytes);
        connection.socket.end();
        await connection.closed();
        assert.match(connection.received, new RegExp(`^HTTP/1\\.1 ${status} `), what);
      }
    }
    assert.equal(await keysOf('half-closed'), 10);
  });

  test('a second request in the same segment: nothing is begun, and that is counted', async () => {
    const signedBefore = await signatures();
    const countedBefore = await metric(service, 'kms_reject_total', 'reason="unanswered"');
    for (let round = 0; round < 10; round++) {
      for (const bytes of [create('one-segment') + create('one-segment'), sign() + sign()]) {
        const connection = new RawConnection(service.port);
        connection.send(bytes);
        assert.equal(await connection.closed(), '');
      }
    }
    assert.equal(await keysOf('one-segment'), 0);
    assert.equal(await signatures(), signedBefore);
    assert.equal(await metric(service, 'kms_reject_total', 'reason="unanswered"'), countedBefore + 20);
  });

  test('a second request that comes later is answered after the first', async () => {
    const connection = new RawConnection(service.port);
    const sent = 5;
    for (let n = 0; n < sent; n++) {
      // Segments of their own; those that share one are the subject above.
      connection.send(create('segments'));
      await connection.answers(2 * n + 1);
      connection.send(sign());
      await connection.answers(2 * n + 2);
    }
    connection.socket.end();
    await connection.closed();
    assert.equal(connection.received.match(/HTTP\/1\.1 20[01] /g)?.length, 2 * sent);
    assert.equal(await keysOf('segments'), sent);
  });

  test('a large answer reaches a half-closed client whole', async () => {
    const items = Array.from({ length: 256 }, () => ({ kid, payload_b3: helloWorldB3 }));
    const body = JSON.stringify({ items });
    const agent = new Agent();
    const text = await new Promise<string>((resolve, reject) => {
      const outgoing = request(
        {
          ...{ port: service.port, host: '127.0.0.1', agent, method: 'POST', path: '/v1/kms/sign/batch' },
          headers: { authorization: `Bearer ${service.token}`, 'content-length': body.length },
        },
        (incoming) => {
          let received = '';
          incoming.on('data', (chunk) => {
            received += chunk;
          });
          incoming.on('end', () => resolve(received)).on('error', reject);
        },
      ).on('error', reject);
      outgoing.on('socket', (socket) => socket.on('connect', () => outgoing.end(body, () => socket.end())));
    });
    agent.destroy();
    assert.equal(JSON.parse(text).results.length, 256);
  });

  test('a client that hangs up while it is served leaves nothing behind', async () => {
    for (let round = 0; round < 20; round++) {
      const connection = new RawConnection(service.port);
      connection.send(sign());
      await new Promise(setImmediate);
      connection.socket.resetAndDestroy();
      await connection.closed();
    }
    const { status } = await call(service, service.token, 'POST', '/v1/kms/sign', {
      kid,
      payload_b3: helloWorldB3,
    });
    assert.equal(status, 200);
    assert.equal(await metric(service, 'kms_queue_depth'), 0);
  });
});
