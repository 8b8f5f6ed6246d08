import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { hrTimeToMilliseconds } from '@opentelemetry/core';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-node';
import * as conventions from '@opentelemetry/semantic-conventions';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService } from '../support/service.ts';
import { registerInMemory } from '../support/spans.ts';

const recorded = registerInMemory();
let service: InProcessService;
let kid: string;
/** RSA takes so long that it is queued and never done on the thread of requests. */
let slowKid: string;

before(async () => {
  service = await startInProcess();
  kid = await keyOf('ed25519');
  slowKid = await keyOf('rsa-2048');
});
after(() => service.stop());

async function keyOf(alg: string): Promise<string> {
  const made = await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'web', alg });
  return made.body.kid;
}

const callerSpan = 'b7ad6b7169203331';
let traces = 0;

/** A call in a trace of its own, and the spans that it left. */
async function traced(
  token: string | undefined,
  method: string,
  path: string,
  body?: unknown,
  flags = '01',
  to: InProcessService = service,
) {
  const traceId = (++traces).toString(16).padStart(32, '5');
  const traceparent = `00-${traceId}-${callerSpan}-${flags}`;
  const answer = await call(to, token, method, path, body, { traceparent, 'x-corr-id': 'order-17' });
  const { spans, named } = recorded.trace(traceId);
  const server = spans.find(({ kind }) => kind === SpanKind.SERVER) as ReadableSpan;
  return { answer, spans, server, queue: named('kms.queue'), engine: named('kms.engine') };
}

const sign = (ofKid = kid) => ({ kid: ofKid, payload_b3: helloWorldB3 });
const beganMs = (span: ReadableSpan) => hrTimeToMilliseconds(span.startTime);
const endedMs = (span: ReadableSpan) => hrTimeToMilliseconds(span.endTime);

/** Times are made of several clocks' milliseconds in floating point. */
const exactMs = 0.01;

for (const way of ['of a quick key', 'by a worker'] as const) {
  test(`a signature ${way} is a server span of the caller's, with the waiting and the engine's work as children`, async () => {
    const used = way === 'by a worker' ? slowKid : kid;
    const { server, queue, engine, spans } = await traced(service.token, 'POST', '/v1/kms/sign', sign(used));
    assert.equal(spans.length, 3);
    assert.ok(queue !== undefined && engine !== undefined);
    assert.equal(server.parentSpanContext?.spanId, callerSpan);
    assert.equal(server.parentSpanContext?.isRemote, true);
    for (const child of [queue, engine]) {
      assert.equal(child.parentSpanContext?.spanId, server.spanContext().spanId);
      assert.equal(child.kind, SpanKind.INTERNAL);
      assert.equal(child.attributes['kms.work'], 'sign');
      assert.ok(beganMs(child) >= beganMs(server) - exactMs && endedMs(child) <= endedMs(server) + exactMs);
    }
    assert.ok(endedMs(queue) <= beganMs(engine) + exactMs);
    assert.ok(endedMs(engine) > beganMs(engine));
    // The engine's price says which way a quick one goes.
    if (way === 'by a worker')
      assert.deepEqual(
        queue.events.map(({ name }) => name),
        ['sent to a worker'],
      );
  });
}

test('a server span has the name of the route and the attributes of the stable conventions', async () => {
  const { server, answer } = await traced(service.token, 'GET', `/v1/kms/keys/${encodeURIComponent(kid)}`);
  assert.equal(answer.status, 200);
  assert.equal(server.name, 'GET /v1/kms/keys/{kid}');
  assert.equal(server.instrumentationScope.name, 'intaglio');
  const { 'kms.request_id': requestId, ...attributes } = server.attributes;
  assert.equal(requestId, answer.headers.get('x-request-id'));
  assert.deepEqual(attributes, {
    [conventions.ATTR_HTTP_REQUEST_METHOD]: 'GET',
    [conventions.ATTR_HTTP_ROUTE]: '/v1/kms/keys/{kid}',
    [conventions.ATTR_URL_PATH]: `/v1/kms/keys/${encodeURIComponent(kid)}`,
    [conventions.ATTR_URL_SCHEME]: 'http',
    [conventions.ATTR_NETWORK_PROTOCOL_NAME]: 'http',
    [conventions.ATTR_NETWORK_PROTOCOL_VERSION]: '1.1',
    [conventions.ATTR_NETWORK_TRANSPORT]: 'tcp',
    [conventions.ATTR_CLIENT_ADDRESS]: '127.0.0.1',
    [conventions.ATTR_HTTP_RESPONSE_STATUS_CODE]: 200,
    ...{ 'kms.operation': 'read', 'kms.result': 'ok', 'kms.tenant': 'default' },
    ...{ 'kms.kid': [kid], 'kms.correlation_id': 'order-17' },
  });
});

test('making a key waits and works in spans of its own call', async () => {
  const body = { purpose: 'web', alg: 'ed25519+ml-dsa-65' };
  const { server, spans } = await traced(service.token, 'POST', '/v1/kms/keys', body);
  assert.equal(server.name, 'POST /v1/kms/keys');
  // Of each of its two parts.
  assert.equal(spans.filter(({ name }) => name === 'kms.engine').length, 2);
  assert.equal(spans.filter(({ attributes }) => attributes['kms.work'] === 'generate').length, 4);
});

test('calls that come together have each its own spans', async () => {
  const calls = await Promise.all(
    Array.from({ length: 20 }, (_, n) =>
      traced(service.token, 'POST', '/v1/kms/sign', sign(n % 2 ? kid : slowKid)),
    ),
  );
  for (const { spans, answer } of calls) {
    assert.equal(answer.status, 200);
    assert.deepEqual(spans.map(({ name }) => name).sort(), ['POST /v1/kms/sign', 'kms.engine', 'kms.queue']);
  }
});

test('a batch of many dear items keeps 64 pieces of work and counts the others', async () => {
  const items = Array.from({ length: 70 }, () => sign(slowKid));
  const { server, spans, answer } = await traced(service.token, 'POST', '/v1/kms/sign/batch', { items });
  assert.equal(answer.status, 200);
  assert.equal(spans.filter(({ name }) => name === 'kms.queue').length, 64);
  assert.equal(server.attributes['kms.works_left_out'], 6);
  assert.equal(server.attributes['kms.items'], 70);
});

test('a refusal below 500 is no error of the service, and says why', async () => {
  for (const [token, method, path, body, status, result, name] of [
    [undefined, 'POST', '/v1/kms/sign', {}, 401, 'Unauthenticated', 'POST /v1/kms/sign'],
    [service.token, 'POST', '/v1/kms/sign', {}, 400, 'BadRequest', 'POST /v1/kms/sign'],
    [service.token, 'PUT', '/v1/kms/sign', {}, 405, 'MethodNotAllowed', 'PUT'],
    [service.token, 'GET', '/not/there', undefined, 404, 'NotFound', 'GET'],
    [service.token, 'BREW', '/not/there', undefined, 404, 'NotFound', 'HTTP'],
  ] as const) {
    const { server, answer, spans } = await traced(token, method, path, body);
    assert.equal(answer.status, status);
    assert.equal(spans.length, 1);
    assert.equal(server.name, name);
    assert.equal(server.attributes['http.response.status_code'], status);
    assert.equal(server.attributes['kms.result'], result);
    assert.equal(server.status.code, SpanStatusCode.UNSET);
    assert.equal(server.attributes['error.type'], undefined);
  }
});

test('a refusal of 500 or above is an error of the service', async () => {
  const narrow = await startInProcess({ env: { KMS_BACKEND: 'memory' } });
  // It refuses all that comes once it stops.
  await narrow.stop();
  const { server, answer } = await traced(narrow.token, 'POST', '/v1/kms/sign', sign(), '01', narrow);
  assert.equal(answer.status, 503);
  assert.equal(server.status.code, SpanStatusCode.ERROR);
  assert.equal(server.attributes['error.type'], '503');
  assert.equal(server.attributes['kms.result'], 'NotReady');
});

test('a caller that does not sample leaves no spans, and none is made of an id that is none', async () => {
  assert.equal((await traced(service.token, 'POST', '/v1/kms/sign', sign(), '00')).spans.length, 0);
  const traceparent = `00-${'0'.repeat(32)}-${callerSpan}-01`;
  const before = recorded.spans().length;
  assert.equal(
    (await call(service, service.token, 'POST', '/v1/kms/sign', sign(), { traceparent })).status,
    200,
  );
  const made = recorded.spans().slice(before);
  assert.equal(made.length, 3);
  assert.ok(made.every((span) => !/^0+$/.test(span.spanContext().traceId)));
});

test('the answer has the traceparent that came, and a probe makes no span', async () => {
  const { answer } = await traced(service.token, 'POST', '/v1/kms/sign', sign());
  assert.match(answer.headers.get('traceparent') ?? '', new RegExp(`-${callerSpan}-01$`));
  const before = recorded.spans().length;
  for (const path of ['/healthz', '/readyz', '/version']) await call(service, undefined, 'GET', path);
  await service.send({ method: 'GET', path: '/metrics' });
  assert.equal(recorded.spans().length, before);
});

test('a line of the log has the ids of the span, so that one leads to the other', async () => {
  const { server, answer } = await traced(service.token, 'POST', '/v1/kms/sign', {});
  const id = answer.headers.get('x-request-id') as string;
  const line = JSON.parse(await service.logged((text) => text.includes(id)));
  assert.equal(line.trace_id, server.spanContext().traceId);
  assert.equal(line.span_id, server.spanContext().spanId);
});
