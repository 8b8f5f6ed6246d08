import assert from 'node:assert/strict';
import test from 'node:test';
import { RateLimits } from '../../src/admission/rate-limits.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { systemClock } from '../../src/core/clock.ts';
import { peerAt } from '../../src/core/peer.ts';
import { refuse } from '../../src/core/result.ts';
import { intaglioDialect } from '../../src/http/dialects/intaglio/index.ts';
import type { Exchange, Response } from '../../src/http/exchange.ts';
import { HttpServer, type ServerParts } from '../../src/http/server.ts';
import { createHealth } from '../../src/observe/health.ts';
import { createMetrics } from '../../src/observe/metrics.ts';
import { countRefusal } from '../../src/observe/refusals.ts';
import type { Operations } from '../../src/operations/operations.ts';

/** A server whose request path or metrics are a bug, and what it answers, counts and tells of it. */
function serverWith(broken: Partial<ServerParts>) {
  const metrics = createMetrics('intaglio');
  const told: { bugs: unknown[]; answered500: (string | undefined)[] } = { bugs: [], answered500: [] };
  const server = new HttpServer({
    dialects: [intaglioDialect({} as Operations, { batchMaxItems: 1 })],
    requestPath: () => refuse('NotFound'),
    health: createHealth(),
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
    authenticator: { authenticate: () => refuse('Unauthenticated') },
    version: {},
    refusals: new RateLimits([{ count: 100, windowMs: 1_000 }], 10),
    clock: systemClock,
    onRefused: (reason) => countRefusal(metrics, reason),
    onBug: (cause) => void told.bugs.push(cause),
    onInternal: (requestId) => void told.answered500.push(requestId),
    ...broken,
  });
  const get = (path: string) =>
    new Promise<Response>((resolve) => {
      const exchange: Exchange = {
        ...{
          scheme: 'http' as const,
          method: 'get',
          path,
          query: '',
          body: new Uint8Array(0),
          cancellation: createCancellation(),
        },
        headers: {
          ...{
            severalAuthorizations: false,
            authorization: 'Bearer x',
            contentEncoding: undefined,
            requestId: undefined,
          },
          ...{
            correlationId: undefined,
            traceparent: undefined,
            deadlineMs: undefined,
            discharges: undefined,
          },
          ...{ xForwardedFor: undefined, forwarded: undefined },
        },
        peer: () => peerAt('tcp', '127.0.0.1'),
        respond: resolve,
      };
      server.onExchange(exchange);
    });
  const counted = async () =>
    /^kms_reject_total\{reason="internal"\} (\d+)$/m.exec(await metrics.exposition(() => false))?.[1];
  return { get, counted, told };
}

const bug = new Error('a bug with a secret in it');

for (const [how, broken, path] of [
  [
    'throws',
    {
      requestPath: () => {
        throw bug;
      },
    },
    '/v1/kms/keys',
  ],
  ['rejects', { requestPath: () => Promise.reject(bug) }, '/v1/kms/keys'],
  ['fails at a scrape', { metrics: () => Promise.reject(bug) }, '/metrics'],
] as const) {
  test(`what ${how} is a 500 that is counted, told to the operator, and not to the caller`, async () => {
    const { get, counted, told } = serverWith(broken);
    const { status, headers, body } = await get(path);
    assert.equal(status, 500);
    const { error } = JSON.parse(String(body));
    assert.equal(error.code, 'Internal');
    assert.ok(!String(body).includes('secret'));
    const requestId = headers.find(([name]) => name === 'x-request-id')?.[1];
    assert.equal(error.request_id, requestId);
    assert.deepEqual(told, { bugs: [bug], answered500: [requestId] });
    assert.equal(await counted(), '1');
    await get(path);
    assert.equal(await counted(), '2');
  });
}

test('an answer of 500 that nothing threw is counted too', async () => {
  const { get, counted, told } = serverWith({ requestPath: () => refuse('Internal') });
  assert.equal((await get('/v1/kms/keys')).status, 500);
  assert.equal(await counted(), '1');
  assert.equal(told.bugs.length, 0);
});
