import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { accessFields } from '../../src/observe/access-line.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';

let usual: InProcessService;
let debugging: InProcessService;
/** A key of each. */
let kids: { usual: string; debugging: string };

async function keyOf(service: InProcessService): Promise<string> {
  const made = await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'web', alg: 'ed25519' });
  return made.body.kid;
}

before(async () => {
  usual = await startInProcess();
  debugging = await startInProcess({ env: { KMS_LOG_LEVEL: 'debug' } });
  kids = { usual: await keyOf(usual), debugging: await keyOf(debugging) };
});
after(() => Promise.all([usual.stop(), debugging.stop()]));

const requestId = '01234567-89ab-4cde-8f01-23456789abcd';
const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

type Line = Readonly<Record<string, unknown>>;

/** The line about this request; there is exactly one. */
async function lineOf(service: InProcessService, id: string): Promise<Line> {
  await service.logged((line) => line.includes(id));
  const lines = service.log.filter((line) => line.includes(id)).map((line) => JSON.parse(line) as Line);
  assert.equal(lines.length, 1);
  return lines[0] as Line;
}

test('at level info a call that is answered has no line', async () => {
  const body = { kid: kids.usual, payload_b3: helloWorldB3 };
  const { status, headers } = await call(usual, usual.token, 'POST', '/v1/kms/sign', body);
  assert.equal(status, 200);
  const id = headers.get('x-request-id') as string;
  assert.ok(!usual.log.some((line) => line.includes(id)));
});

test('a refusal has a line with who, what and why, by the id that the answer has', async () => {
  const kid = `${kids.usual.replace(/#.*/, '')}#v9`;
  const body = { kid, payload_b3: helloWorldB3, op_id: '01234567-89ab-4cde-8f01-000000000001' };
  const sent = { 'x-request-id': requestId, 'x-corr-id': 'order-17', traceparent };
  const { status } = await call(usual, usual.token, 'POST', '/v1/kms/sign', body, sent);
  assert.equal(status, 404);
  const { time, duration_ms, actor, service, body_bytes, ...line } = await lineOf(usual, requestId);
  assert.equal(typeof time, 'string');
  assert.equal(typeof service, 'string');
  assert.equal(typeof actor, 'string');
  assert.ok((duration_ms as number) >= 0 && (body_bytes as number) > 100);
  assert.deepEqual(line, {
    ...{ level: 'info', msg: 'refused', request_id: requestId, corr_id: 'order-17' },
    ...{ op: 'sign', method: 'POST', route: '/v1/kms/sign', status: 404 },
    ...{ result: 'NotFound', reason: 'not_found', tenant: 'default', kid },
    ...{ op_id: body.op_id, payload_b3: helloWorldB3, listener: 'tcp', peer: '127.0.0.1' },
  });
});

test('a refusal before anything is known has a line with what is known', async () => {
  const { headers } = await call(usual, 'not a token', 'POST', '/v1/kms/sign', {});
  const line = await lineOf(usual, headers.get('x-request-id') as string);
  assert.deepEqual(
    [line.result, line.reason, line.op, line.tenant],
    ['Unauthenticated', 'unauth', 'sign', undefined],
  );
  const nowhere = await call(usual, usual.token, 'GET', '/somewhere/else');
  const lost = await lineOf(usual, nowhere.headers.get('x-request-id') as string);
  assert.deepEqual([lost.result, lost.route, lost.op], ['NotFound', undefined, undefined]);
});

test('a text that is no kid is not written, nor a path, a token, a message or a signature', async () => {
  const secret = 'hush-hush';
  const body = { kid: secret, payload_b3: helloWorldB3 };
  await call(debugging, debugging.token, 'POST', '/v1/kms/sign', body);
  await call(debugging, secret, 'POST', '/v1/kms/sign', body);
  await call(debugging, debugging.token, 'GET', `/v1/kms/keys/${secret}?purpose=${secret}`);
  await call(debugging, debugging.token, 'POST', '/v1/kms/sign', `{"${secret}": 1}`);
  await call(debugging, debugging.token, 'POST', '/v1/kms/sign', body, { 'x-corr-id': `${secret} x` });
  const signed = await call(debugging, debugging.token, 'POST', '/v1/kms/sign', {
    kid: kids.debugging,
    payload_b3: helloWorldB3,
  });
  assert.equal(signed.status, 200);
  const text = debugging.log.join('\n');
  for (const word of [secret, debugging.token, signed.body.sigs[0].signature_b64])
    assert.ok(!text.includes(word));
});

test('at level debug each call has a line, with the version that was used and the times of queue and engine', async () => {
  const body = { kid: kids.debugging, payload_b3: helloWorldB3 };
  const sent = { traceparent, 'x-request-id': requestId };
  assert.equal((await call(debugging, debugging.token, 'POST', '/v1/kms/sign', body, sent)).status, 200);
  const line = await lineOf(debugging, requestId);
  assert.deepEqual(
    [line.level, line.msg, line.result, line.reason, line.status],
    ['debug', 'answered', 'ok', undefined, 200],
  );
  assert.equal(line.kid, `${kids.debugging.replace(/#.*/, '')}#v1`);
  assert.equal(line.alg, 'ed25519');
  assert.deepEqual([line.trace_id, line.span_id], traceparent.split('-').slice(1, 3));
  const { queue_ms, engine_ms, duration_ms } = line as Readonly<Record<string, number>>;
  assert.ok((queue_ms as number) >= 0 && (engine_ms as number) > 0);
  assert.ok((queue_ms as number) + (engine_ms as number) <= (duration_ms as number) + 1);
  const known = new Set<string>(['level', 'time', 'service', 'msg', ...Object.values(accessFields)]);
  assert.deepEqual(
    Object.keys(line).filter((field) => !known.has(field)),
    [],
  );
});

test('making a key has times too, and a batch names at most eight keys', async () => {
  const made = await call(debugging, debugging.token, 'POST', '/v1/kms/keys', {
    purpose: 'web',
    alg: 'ed25519',
  });
  const line = await lineOf(debugging, made.headers.get('x-request-id') as string);
  assert.ok((line.engine_ms as number) > 0);
  assert.equal(line.op, 'create');
  const items = [];
  for (let n = 0; n < 10; n++) items.push({ kid: await keyOf(debugging), payload_b3: helloWorldB3 });
  const batch = await call(debugging, debugging.token, 'POST', '/v1/kms/sign/batch', { items });
  const ofBatch = await lineOf(debugging, batch.headers.get('x-request-id') as string);
  assert.equal((ofBatch.kid as string[]).length, 8);
  assert.equal(ofBatch.items, 10);
});

test('probes and scrapes have no line', async () => {
  const before = debugging.log.length;
  for (const path of ['/healthz', '/readyz', '/version']) await call(debugging, undefined, 'GET', path);
  assert.equal(debugging.log.length, before);
});

test('a flood of refusals has few lines at level info, and the metrics count all', async () => {
  const flooded = await startInProcess({ env: { KMS_BACKEND: 'memory' } });
  try {
    const count = 500;
    await Promise.all(
      Array.from({ length: count }, () => call(flooded, flooded.token, 'POST', '/v1/kms/sign', { kid: 1 })),
    );
    const lines = flooded.log
      .filter((line) => line.includes('"bad_request"'))
      .map((line) => JSON.parse(line));
    // Ten in each second that it took.
    assert.ok(lines.length >= 10 && lines.length < count / 2, String(lines.length));
    const { text } = await flooded.send({ method: 'GET', path: '/metrics' });
    assert.match(text, new RegExp(`kms_reject_total\\{reason="bad_request"\\} ${count}\\n`));
    const duration =
      /^http_server_request_duration_seconds_count\{.*http_route="\/v1\/kms\/sign".*_code="400".*\} (\d+)$/m;
    assert.equal(duration.exec(text)?.[1], String(count));
    assert.match(text, /^http_server_active_requests\{http_request_method="GET",url_scheme="http"\} 1$/m);
  } finally {
    await flooded.stop();
  }
});
