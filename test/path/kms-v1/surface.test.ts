import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { verifyReceipt } from '../../../src/client/receipts.ts';
import { configAnswer, healthAnswer } from '../../../src/http/dialects/kms-v1/answers.ts';
import { describedCalls } from '../../../src/http/dialects/kms-v1/described.ts';
import { describedPaths } from '../../../src/http/dialects/kms-v1/openapi.ts';
import { developmentApproval, developmentMode } from '../../support/development-mode.ts';
import { startInProcess } from '../../support/in-process.ts';
import { change, developmentClient, generate, type KmsV1Client } from '../../support/kms-v1.ts';
import { assertFits } from '../../support/kms-v1-dialect.ts';
import { call, type InProcessService } from '../../support/service.ts';

type Service = InProcessService;

const data = Buffer.from('Hello, World!').toString('base64');
const agreed = { 'x-approval-token': developmentApproval };
const page = 'https://app.example.com';

describe('the surface of /kms/v1 in development mode', () => {
  let service: Service;
  let client: KmsV1Client;

  before(async () => {
    service = await startInProcess({
      env: { ...developmentMode, KMS_LOG_LEVEL: 'debug', CORS_ORIGINS: page, ENVIRONMENT: 'test' },
    });
    client = developmentClient(service);
  });
  after(() => service.stop());

  for (const path of ['/health', '/kms/v1/health']) {
    test(`GET ${path} needs no caller and tells of three checks`, async () => {
      const answer = await service.send({ method: 'GET', path });
      assert.equal(answer.status, 200);
      const body = JSON.parse(answer.text);
      assertFits(healthAnswer, body);
      assert.equal(body.status, 'healthy');
      assert.deepEqual(
        body.checks.map(({ name, status }: { name: string; status: string }) => [name, status]),
        [
          ['hsm', 'pass'],
          ['storage', 'pass'],
          ['trust_store', 'pass'],
        ],
      );
      assert.match(String(answer.headers['x-trace-id']), /^[0-9a-f]{32}$/);
      const head = await service.send({ method: 'HEAD', path });
      assert.deepEqual([head.status, head.text], [200, '']);
    });
  }

  test('GET /kms/v1/config tells what holds', async () => {
    const { status, body } = await client.send('GET', '/config');
    assert.equal(status, 200);
    assertFits(configAnswer, body);
    assert.deepEqual(body.key_rotation_schedule, { 'RSA-2048': 'P90D', Ed25519: 'P365D', 'AES-256': 'P90D' });
    assert.deepEqual([body.rotation_grace_period, body.max_usage_per_day_default], ['P7D', 10_000]);
    for (const name of ['EdDSA', 'RSA-PSS-SHA256', 'RSA-PKCS1v15-SHA256', 'AES-256-GCM', 'CHACHA20-POLY1305'])
      assert.ok(body.allowed_algorithms.includes(name), name);
    for (const name of ['generate', 'rotate', 'revoke', 'archive', 'trust_anchor', 'certificate', 'webhook'])
      assert.ok(body.dual_authorization_required_operations.includes(name), name);
  });

  test('GET /kms/v1/metrics has the names of the module, in text', async () => {
    await generate(client, { key_type: 'Ed25519', key_usage: 'sign' });
    const { text, headers } = await client.send('GET', '/metrics');
    assert.equal(headers['content-type'], 'text/plain; charset=utf-8');
    for (const line of [
      /^kms_requests_total\{operation="generate_key",status="success"\} [1-9]/m,
      /^kms_operation_latency_ms_bucket\{operation="sign",le="50"\} \d/m,
      /^kms_operation_latency_ms_count\{operation="generate_key"\} [1-9]/m,
      /^kms_keys_total\{key_type="Ed25519",key_state="active"\} [1-9]/m,
      /^kms_key_usage_total\{operation="encrypt"\} \d/m,
      /^kms_hsm_available 1$/m,
      /^kms_service_info\{environment="test",version="[^"]+"\} 1$/m,
      /^# TYPE kms_request_errors_total counter$/m,
    ])
      assert.match(text, line);
  });

  test('the canonical surface and its metrics are where they were', async () => {
    const metrics = await service.send({ method: 'GET', path: '/metrics' });
    assert.ok(!metrics.text.includes('kms_requests_total'));
    assert.equal((await service.send({ method: 'GET', path: '/healthz' })).status, 200);
    const answer = await service.send({ method: 'GET', path: '/v1/kms/none' });
    assert.equal(answer.headers['x-trace-id'], undefined);
    assert.equal(JSON.parse(answer.text).error.code, 'NotFound');
  });

  test('GET /kms/v1/openapi.json describes every route', async () => {
    const { status, body } = await client.send('GET', '/openapi.json');
    assert.equal(status, 200);
    for (const { path, method } of describedPaths()) assert.ok(body.paths[path][method], path);
  });

  const keyTypes = [
    { key_type: 'RSA-2048', key_usage: ['sign', 'verify'], pem: true },
    { key_type: 'Ed25519', key_usage: ['sign', 'verify'], pem: true },
    { key_type: 'AES-256', key_usage: ['encrypt', 'decrypt'], pem: false },
    { key_type: 'ml-dsa-65', key_usage: ['sign', 'verify'], pem: true },
    { key_type: 'ecdsa-p256', key_usage: 'sign', pem: true },
    { key_type: 'chacha20-poly1305', key_usage: ['encrypt', 'decrypt'], pem: false },
  ] as const;
  for (const { pem, ...wanted } of keyTypes) {
    test(`POST /keys makes ${wanted.key_type}, and shows ${pem ? 'its public key' : 'no key at all'}`, async () => {
      const { status, body } = await client.send('POST', '/keys', { body: wanted, headers: agreed });
      assert.equal(status, 201);
      assertFits(describedCalls.generate_key.answer, body);
      if (pem) assert.match(body.public_key, /^-----BEGIN PUBLIC KEY-----\n/);
      else assert.equal(body.public_key, null);
    });
  }

  for (const algorithm of ['EdDSA', 'ed25519', 'eddsa'])
    test(`an Ed25519 key signs as ${algorithm}`, async () => {
      const key_id = await generate(client, { key_type: 'Ed25519', key_usage: ['sign', 'verify'] });
      const signed = await client.send('POST', '/sign', { body: { key_id, data, algorithm } });
      assertFits(describedCalls.sign.answer, signed.body);
      const { signature } = signed.body;
      const { body } = await client.send('POST', '/verify', { body: { key_id, data, signature, algorithm } });
      assert.deepEqual(body, { valid: true, key_id, algorithm: 'EdDSA' });
    });

  test('an RSA key signs by either name of each scheme, and a signature is of its own scheme alone', async () => {
    const key_id = await generate(client, { key_type: 'RSA-2048', key_usage: ['sign', 'verify'] });
    const schemes = [
      ['RSA-PSS-SHA256', 'PS256'],
      ['RSA-PKCS1v15-SHA256', 'RS256'],
    ] as const;
    for (const [[name, ours], [other]] of [
      [schemes[0], schemes[1]],
      [schemes[1], schemes[0]],
    ] as const) {
      for (const algorithm of [name, ours]) {
        const { signature } = (await client.send('POST', '/sign', { body: { key_id, data, algorithm } }))
          .body;
        const right = await client.send('POST', '/verify', {
          body: { key_id, data, signature, algorithm: name },
        });
        assert.deepEqual(right.body, { valid: true, key_id, algorithm: name });
        const wrong = await client.send('POST', '/verify', {
          body: { key_id, data, signature, algorithm: other },
        });
        assert.deepEqual([wrong.status, wrong.body.valid], [200, false]);
      }
    }
  });

  for (const [name, forged] of [
    ['of other data', { data: 'AAAA' }],
    ['that is empty', { signature: '' }],
    ['that is too short', { signature: 'AAAA' }],
    ['of other bytes', { signature: Buffer.alloc(64).toString('base64') }],
  ] as const)
    test(`a signature ${name} is an answer: valid is false`, async () => {
      const key_id = await generate(client, { key_type: 'Ed25519', key_usage: ['sign', 'verify'] });
      const { signature } = (await client.send('POST', '/sign', { body: { key_id, data } })).body;
      const { status, body } = await client.send('POST', '/verify', {
        body: { key_id, data, signature, ...forged },
      });
      assert.deepEqual([status, body.valid], [200, false]);
    });

  for (const [key_type, algorithm, ivBytes] of [
    ['AES-256', 'AES-256-GCM', 12],
    ['chacha20-poly1305', 'CHACHA20-POLY1305', 12],
  ] as const) {
    for (const [what, plaintext, aad] of [
      ['text', data, undefined],
      ['nothing', '', undefined],
      ['text that is bound to a context', data, 'Y29udGV4dA=='],
      ['64 KiB', Buffer.alloc(64 * 1024, 7).toString('base64'), undefined],
    ] as const) {
      test(`${algorithm}: ${what} comes back, and nothing under another key or context`, async () => {
        const key_usage = ['encrypt', 'decrypt'];
        const key_id = await generate(client, { key_type, key_usage });
        const context = aad === undefined ? {} : { aad };
        const sealed = (await client.send('POST', '/encrypt', { body: { key_id, plaintext, ...context } }))
          .body;
        assertFits(describedCalls.encrypt.answer, sealed);
        assert.equal(sealed.algorithm, algorithm);
        assert.equal(Buffer.from(sealed.iv, 'base64').length, ivBytes);
        const { ciphertext, iv } = sealed;
        const length = Buffer.from(plaintext, 'base64').length;
        assert.equal(Buffer.from(ciphertext, 'base64').length, length + 16);
        const opened = await client.send('POST', '/decrypt', {
          body: { key_id, ciphertext, iv, algorithm, ...context },
        });
        assert.deepEqual(opened.body, { plaintext, key_id });
        const other = await generate(client, { key_type, key_usage });
        const strange = await client.send('POST', '/decrypt', {
          body: { key_id: other, ciphertext, iv, ...context },
        });
        assert.deepEqual([strange.status, strange.body.error.code], [400, 'INVALID_REQUEST']);
        const elsewhere = await client.send('POST', '/decrypt', {
          body: { key_id, ciphertext, iv, aad: 'AAAA' },
        });
        assert.equal(elsewhere.status, 400);
      });
    }
  }

  test('metadata has the end, the schedule and the access policy of a key, and no secret', async () => {
    const access_policy = { allowed_modules: ['mock-module'], max_usage_per_day: 5 };
    const key_id = await generate(client, {
      ...{ key_type: 'AES-256', key_usage: ['encrypt', 'decrypt'], key_alias: 'full' },
      ...{ valid_until: '2099-01-01T00:00:00Z', access_policy },
    });
    const { body, text } = await client.send(
      'GET',
      `/keys/${key_id}?${new URLSearchParams({ ...client.place })}`,
    );
    assertFits(describedCalls.read_key.answer, body);
    const { valid_until, rotate_after_days, key_alias, key_state, key_size_bits } = body;
    assert.deepEqual(
      [valid_until, rotate_after_days, key_alias, key_state, key_size_bits],
      ['2099-01-01T00:00:00.000Z', 90, 'full', 'active', 256],
    );
    assert.deepEqual(body.access_policy, { requires_approval: false, ...access_policy });
    assert.ok(!/secret|private|wrapped|sealed/.test(text));
  });

  test('pages of a listing hold every key once, by state too', async () => {
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const query = new URLSearchParams({
        ...client.place,
        limit: '3',
        ...(cursor === undefined ? {} : { cursor }),
      });
      const { body } = await client.send('GET', `/keys?${query}`);
      assertFits(describedCalls.list_keys.answer, body);
      seen.push(...body.keys.map(({ key_id }: { key_id: string }) => key_id));
      cursor = body.next_cursor;
    } while (cursor !== undefined);
    assert.equal(new Set(seen).size, seen.length);
    const revoked = await generate(client, { key_type: 'Ed25519', key_usage: 'sign' });
    await change(client, revoked, 'revoke', { revocation_reason: 'retired' });
    const destroyed = await client.send(
      'GET',
      `/keys?${new URLSearchParams({ ...client.place, key_state: 'destroyed' })}`,
    );
    assert.deepEqual(
      destroyed.body.keys.map(({ key_id }: { key_id: string }) => key_id),
      [revoked],
    );
  });

  test('a call has a receipt, a refused one too, and a stranger none', async () => {
    const key_id = await generate(client, { key_type: 'Ed25519', key_usage: 'sign' });
    const signed = await client.send('POST', '/sign', { body: { key_id, data } });
    const done = await client.send('GET', `/receipts/${signed.headers['x-receipt-id']}`);
    assertFits(describedCalls.read_receipt.answer, done.body);
    const auditor = await service.mint('mock-tenant', 'kms:audit');
    const log = await call(service, auditor, 'GET', '/v1/kms/audit/vkeys');
    const trusted = { keys: log.body.vkeys, tenant: 'mock-tenant' };
    assert.ok(verifyReceipt(done.body, trusted).ok);
    assert.ok(!verifyReceipt({ ...done.body, operation: 'verify' }, trusted).ok);
    assert.deepEqual([done.body.kms_context.success, done.body.kms_context.key_id], [true, key_id]);
    await change(client, key_id, 'revoke', { revocation_reason: 'retired' });
    const refused = await client.send('POST', '/sign', { body: { key_id, data } });
    const failed = await client.send('GET', `/receipts/${refused.headers['x-receipt-id']}`);
    assert.deepEqual(
      [failed.body.kms_context.success, failed.body.kms_context.error_code],
      [false, 'KEY_REVOKED'],
    );
    const stranger = await service.send({ method: 'POST', path: '/kms/v1/sign', body: '{}' });
    assert.deepEqual([stranger.status, stranger.headers['x-receipt-id']], [401, undefined]);
    const listed = await client.send('GET', `/receipts?key_id=${key_id}&limit=10`);
    assertFits(describedCalls.list_receipts.answer, listed.body);
    assert.equal(listed.body.receipts.length, 4);
  });

  test('GET /events is a stream of server-sent events', async () => {
    const { headers, status } = await service.send({
      ...{ method: 'HEAD', path: '/kms/v1/events?types=key_generated' },
      headers: { 'x-client-certificate': 'x' },
    });
    assert.deepEqual([status, headers['content-type']], [200, 'text/event-stream']);
    const refused = await client.send('GET', '/events', { headers: { 'last-event-id': 'nonsense' } });
    assert.deepEqual([refused.status, refused.body.error.code], [400, 'INVALID_REQUEST']);
  });

  test('ids of a trace are the caller’s where it sends one, and the span is new', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const id = '11111111-2222-4333-8444-555555555555';
    const { headers } = await client.send('GET', '/config', { headers: { traceparent, 'x-request-id': id } });
    assert.equal(headers['x-trace-id'], '0af7651916cd43dd8448eb211c80319c');
    assert.notEqual(headers['x-span-id'], 'b7ad6b7169203331');
    assert.equal(headers['x-request-id'], id);
    const spans = new Set<unknown>();
    for (let n = 0; n < 600; n++) spans.add((await client.send('GET', '/config')).headers['x-span-id']);
    assert.equal(spans.size, 600);
  });

  test('a request has the lines request.start and request.end, of one trace, refused or not', async () => {
    for (const asked of [{ key_type: 'Ed25519', key_usage: 'sign' }, {}]) {
      const { status, headers } = await client.send('POST', '/keys', { body: asked, headers: agreed });
      const lines = service.log
        .map((line) => JSON.parse(line))
        .filter((line) => line.request_id === headers['x-request-id']);
      const [start, end] = ['request.start', 'request.end'].map((msg) =>
        lines.find((line) => line.msg === msg),
      );
      assert.deepEqual([start.trace_id, end.trace_id], [headers['x-trace-id'], headers['x-trace-id']]);
      assert.equal(end.span_id, headers['x-span-id']);
      assert.equal(end.status, status);
      assert.deepEqual([start.route, start.result], ['/kms/v1/keys', undefined]);
    }
  });

  test('what nobody may is in the log as what was refused', async () => {
    const { headers, status } = await service.send({ method: 'POST', path: '/kms/v1/sign', body: '{}' });
    assert.equal(status, 401);
    const line = await service.logged(
      (text) => text.includes(String(headers['x-request-id'])) && text.includes('request.end'),
    );
    assert.equal(JSON.parse(line).result, 'Unauthenticated');
  });

  const pages: readonly {
    readonly name: string;
    readonly method: string;
    readonly path: string;
    readonly origin?: string;
    readonly status: number;
    readonly allowed: string | undefined;
  }[] = [
    {
      name: 'a page that may call',
      method: 'GET',
      path: '/config',
      origin: page,
      status: 200,
      allowed: page,
    },
    {
      name: 'another page',
      method: 'GET',
      path: '/config',
      origin: 'https://other.test',
      status: 200,
      allowed: undefined,
    },
    {
      name: 'a page over http',
      method: 'GET',
      path: '/config',
      origin: 'http://app.example.com',
      status: 200,
      allowed: undefined,
    },
    { name: 'no page', method: 'GET', path: '/config', status: 200, allowed: undefined },
    {
      name: 'a page that is refused',
      method: 'POST',
      path: '/sign',
      origin: page,
      status: 400,
      allowed: page,
    },
    {
      name: 'a page that asks before',
      method: 'OPTIONS',
      path: '/keys',
      origin: page,
      status: 200,
      allowed: page,
    },
    {
      name: 'another page that asks before',
      method: 'OPTIONS',
      path: '/keys',
      origin: 'https://other.test',
      status: 405,
      allowed: undefined,
    },
    {
      name: 'a page that asks about no path',
      method: 'OPTIONS',
      path: '/none',
      origin: page,
      status: 404,
      allowed: page,
    },
  ];
  for (const { name, method, path, origin, status, allowed } of pages) {
    test(`CORS: ${name} has ${allowed === undefined ? 'no permission' : 'permission'}, ${status}`, async () => {
      const answer = await client.send(method, path, { headers: origin === undefined ? {} : { origin } });
      assert.equal(answer.status, status);
      assert.equal(answer.headers['access-control-allow-origin'], allowed);
      assert.equal(answer.headers.vary, 'Origin');
      assert.equal(answer.headers['access-control-allow-credentials'], undefined);
      if (method !== 'OPTIONS' || status !== 200) return;
      assert.equal(answer.headers['access-control-allow-methods'], 'POST, GET, HEAD');
      assert.match(String(answer.headers['access-control-allow-headers']), /X-Approval-Token/);
    });
  }

  test('without development identity a header names nobody, and the surface is not there without KMS_M33', async (t) => {
    const plain = await startInProcess({ env: { KMS_M33: 'true', KMS_BACKEND: 'memory' } });
    t.after(() => plain.stop());
    assert.equal((await developmentClient(plain).send('GET', '/receipts')).status, 401);
    const off = await startInProcess({ env: { KMS_BACKEND: 'memory' } });
    t.after(() => off.stop());
    for (const path of ['/health', '/kms/v1/health', '/kms/v1/sign']) {
      const answer = await off.send({ method: 'GET', path });
      assert.deepEqual([answer.status, JSON.parse(answer.text).error.code], [404, 'NotFound']);
    }
  });

  test('a rate of the tenant is 429 with a time, whatever name a header claims', async () => {
    service.reload({ KMS_SIGN_RATE_LIMIT: '1' });
    const key_id = await generate(client, { key_type: 'Ed25519', key_usage: 'sign' });
    const answers = [];
    for (let n = 0; n < 6; n++)
      answers.push(
        await client.send('POST', '/sign', { body: { key_id, data }, headers: { 'x-client-id': `c${n}` } }),
      );
    const refused = answers.find(({ status }) => status === 429);
    assert.deepEqual([refused?.body.error.code, refused?.body.error.retryable], ['RATE_LIMITED', true]);
    assert.ok(Number(refused?.headers['retry-after']) > 0);
    assert.ok(refused?.body.error.details.retry_after_ms > 0);
    service.reload({ KMS_SIGN_RATE_LIMIT: '0' });
  });
});

test('while a service stops, calls are 503 and its health says so', async () => {
  const service = await startInProcess({ env: { ...developmentMode, KMS_BACKEND: 'memory' } });
  const client = developmentClient(service);
  await service.stop();
  const { status, body, headers } = await client.send('POST', '/sign', { body: { key_id: 'x', data } });
  assert.deepEqual([status, body.error.code, body.error.retryable], [503, 'DEPENDENCY_UNAVAILABLE', true]);
  assert.ok(Number(headers['retry-after']) > 0);
  assert.equal((await client.send('GET', '/health')).body.status, 'unhealthy');
});
