import assert from 'node:assert/strict';
import { connect } from 'node:net';
import test, { after, before } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, callForBytes, helloWorldB3, type ListeningService } from '../support/service.ts';

let service: ListeningService;
let kid: string;

before(async () => {
  service = await startInProcess({
    listen: true,
    env: {
      KMS_BACKEND: 'memory',
      KMS_SIGN_RATE_LIMIT: '20',
      KMS_RATE_LIMITS: 'verify=5/d',
      KMS_KEY_USES_PER_DAY: '30',
      KMS_REFUSALS_PER_ADDRESS: '50',
      KMS_TENANT_WEIGHTS: 'acme=4',
    },
  });
  const made = await call(service, service.token, 'POST', '/v1/kms/keys', {
    purpose: 'test',
    alg: 'ed25519',
  });
  kid = made.body.kid;
});

after(() => service.stop());

const sign = (headers: Record<string, string> = {}) =>
  call(service, service.token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 }, headers);

test('a deadline out of range is 400, one in range is taken', async () => {
  for (const wish of ['0', '-5', 'soon', '60001'])
    assert.equal((await sign({ 'x-deadline-ms': wish })).status, 400);
  assert.equal((await sign({ 'x-deadline-ms': '500' })).status, 200);
});

test('beyond the rate a signature is 429 RateLimited with the time to wait, in both forms', async () => {
  const answers = await Promise.all(Array.from({ length: 60 }, () => sign()));
  const refused = answers.find(({ status }) => status === 429);
  assert.ok(refused, 'some are over the rate');
  assert.equal(refused.body.error.code, 'RateLimited');
  assert.equal(refused.body.error.retryable, true);
  assert.ok(refused.body.error.retry_after_ms >= 1);
  assert.equal(
    refused.headers.get('retry-after'),
    String(Math.ceil(refused.body.error.retry_after_ms / 1000)),
  );
  assert.ok(answers.every(({ status }) => status === 200 || status === 429));
});

test('a batch beyond the rate is answered item by item', async () => {
  const items = Array.from({ length: 100 }, () => ({ kid, payload_b3: helloWorldB3 }));
  const answer = await call(service, service.token, 'POST', '/v1/kms/sign/batch', { items });
  if (answer.status === 429) return;
  const codes = new Set(
    answer.body.results.map((result: { error?: { code: string } }) => result.error?.code ?? 'ok'),
  );
  assert.ok(codes.has('RateLimited'));
  assert.equal(answer.body.results.length, 100);
});

test('a daily limit of a scope is its own', async () => {
  const body = {
    payload_b3: helloWorldB3,
    sigs: [{ kid, signature_b64: Buffer.alloc(64).toString('base64') }],
  };
  const statuses = [];
  for (let n = 0; n < 7; n++)
    statuses.push((await call(service, service.token, 'POST', '/v1/kms/verify', body)).status);
  assert.deepEqual(statuses, [200, 200, 200, 200, 200, 429, 429]);
});

test('the load report shows latencies, queues and shares to the operator, and to a tenant only its own', async () => {
  const operator = await call(service, service.token, 'GET', '/v1/kms/admin/load');
  assert.equal(operator.status, 200);
  const signed = operator.body.latency.find((entry: { op: string }) => entry.op === 'sign');
  assert.equal(signed.alg, 'ed25519');
  assert.ok(signed.count > 0 && signed.p50_ms <= signed.p95_ms && signed.p95_ms <= signed.p99_ms);
  assert.deepEqual(Object.keys(operator.body.queue), ['waiting_calls', 'waiting_cost_us', 'active_tenants']);
  assert.equal(operator.body.tenants[0].tenant, 'default');
  const tenant = await call(service, await service.mint('acme', 'kms:admin'), 'GET', '/v1/kms/admin/load');
  assert.deepEqual(tenant.body.tenants, [{ tenant: 'acme', share: 0 }]);
  const reader = await call(service, await service.mint('acme', 'kms:read'), 'GET', '/v1/kms/admin/load');
  assert.equal(reader.status, 403);
});

test('metrics have quantiles, shares and histograms of the queue', async () => {
  const { text } = await callForBytes(service, service.token, 'GET', '/metrics');
  for (const name of [
    'kms_latency_quantile_seconds{op="sign",alg="ed25519",quantile="0.99"}',
    'kms_tenant_share{tenant="default"}',
    'kms_queue_wait_seconds_count',
    'kms_job_seconds_count',
    'kms_batch_len_bucket{le="1"}',
    'kms_reject_total{reason="rate"}',
  ]) {
    assert.ok(text.includes(name), name);
  }
});

test('an address that causes refusals without end has its connections closed, and known capabilities still work', async () => {
  const socket = connect(service.port, '127.0.0.1');
  let received = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    received += chunk;
  });
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  socket.on('error', () => {});
  let sent = 0;
  const flood = setInterval(() => {
    // One at a time: uWebSockets.js ends a connection that pipelines.
    if (received.split('HTTP/1.1 ').length - 1 === sent) {
      sent++;
      socket.write(`GET /v1/kms/keys HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong-${sent}\r\n\r\n`);
    }
  }, 0);
  await closed;
  clearInterval(flood);
  assert.ok(sent >= 50, `closed after ${sent} refusals`);
  const known = await call(service, service.token, 'GET', '/v1/kms/keys');
  assert.equal(known.status, 200);
});
