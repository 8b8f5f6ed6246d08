import assert from 'node:assert/strict';
import test from 'node:test';
import { RateLimits } from '../../../src/admission/rate-limits.ts';
import { createCancellation } from '../../../src/core/cancellation.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { type Failure, type FailureCode, failures } from '../../../src/core/failure.ts';
import { peerAt } from '../../../src/core/peer.ts';
import { errorCodes, errorEnvelope } from '../../../src/http/dialects/kms-v1/answers.ts';
import { presentEnvelope } from '../../../src/http/dialects/kms-v1/failures.ts';
import { healthOf } from '../../../src/http/dialects/kms-v1/health.ts';
import { kmsV1Dialect } from '../../../src/http/dialects/kms-v1/index.ts';
import type { Exchange, Response } from '../../../src/http/exchange.ts';
import { HttpServer, type ServerParts } from '../../../src/http/server.ts';
import { createHealth } from '../../../src/observe/health.ts';
import { assertFits, kmsV1Parts, noOperations } from '../../support/kms-v1-dialect.ts';

const facts = {
  ...{ hint: undefined, requestId: '11111111-2222-4333-8444-555555555555', ts: '2026-01-01T00:00:00.000Z' },
};

const words: Readonly<Record<FailureCode, readonly [status: number, code: string]>> = {
  BadRequest: [400, 'INVALID_REQUEST'],
  Unsupported: [400, 'INVALID_REQUEST'],
  ClockSkew: [400, 'INVALID_REQUEST'],
  Unauthenticated: [401, 'UNAUTHENTICATED'],
  NoCapability: [403, 'UNAUTHORIZED'],
  PolicyViolation: [403, 'POLICY_VIOLATION'],
  ExportForbidden: [403, 'POLICY_VIOLATION'],
  AttestationMissing: [403, 'POLICY_VIOLATION'],
  NotFound: [404, 'KEY_NOT_FOUND'],
  MethodNotAllowed: [405, 'INVALID_REQUEST'],
  SlowBody: [408, 'INVALID_REQUEST'],
  Conflict: [409, 'INVALID_REQUEST'],
  LengthRequired: [411, 'INVALID_REQUEST'],
  TooLarge: [413, 'INVALID_REQUEST'],
  UnsupportedEncoding: [415, 'INVALID_REQUEST'],
  HeadersTooLarge: [431, 'INVALID_REQUEST'],
  Backpressure: [429, 'RATE_LIMITED'],
  RateLimited: [429, 'RATE_LIMITED'],
  AddressLimited: [429, 'RATE_LIMITED'],
  Internal: [500, 'INTERNAL_ERROR'],
  StoreUnavailable: [503, 'DEPENDENCY_UNAVAILABLE'],
  AuditUnavailable: [503, 'DEPENDENCY_UNAVAILABLE'],
  NotReady: [503, 'DEPENDENCY_UNAVAILABLE'],
  Timeout: [503, 'DEPENDENCY_UNAVAILABLE'],
};

function told(failure: Failure) {
  const { status, body } = presentEnvelope(failure, facts, false);
  assertFits(errorEnvelope, body);
  // biome-ignore lint/suspicious/noExplicitAny: the envelope is checked above.
  return [status, (body as any).error.code];
}

for (const [code, wanted] of Object.entries(words))
  test(`${code} is ${wanted.join(' ')} on /kms/v1`, () => {
    assert.deepEqual(told({ code: code as FailureCode }), wanted);
    const { body } = presentEnvelope({ code: code as FailureCode }, facts, true);
    assert.deepEqual(Object.keys(body as object), ['detail']);
  });

test('states of keys, shapes of bodies and paths have words of their own, and every code is one of them', () => {
  assert.deepEqual(told({ code: 'Conflict', keyState: 'destroyed' }), [409, 'KEY_REVOKED']);
  assert.deepEqual(told({ code: 'Conflict', keyState: 'inactive' }), [409, 'KEY_INACTIVE']);
  assert.deepEqual(told({ code: 'BadRequest', fault: 'shape' }), [422, 'INVALID_REQUEST']);
  assert.deepEqual(told({ code: 'NotFound', fault: 'path' }), [404, 'INVALID_REQUEST']);
  const codes = new Set(Object.values(words).map(([, code]) => code));
  assert.deepEqual([...codes, 'KEY_REVOKED', 'KEY_INACTIVE'].sort(), [...errorCodes].sort());
  assert.equal(Object.keys(words).length, Object.keys(failures).length);
});

for (const [name, missing, degraded, status, checks] of [
  ['all holds', [], [], 'healthy', 'pass pass pass'],
  ['what the checks do not ask about', [], ['clock', 'memory_unlocked'], 'healthy', 'pass pass pass'],
  ['a token is away', [], ['backend_pkcs11'], 'degraded', 'warn pass pass'],
  ['a token is away that is needed', ['backend_pkcs11'], [], 'unhealthy', 'fail pass pass'],
  ['no worker is there', ['crypto_workers'], [], 'unhealthy', 'fail pass pass'],
  ['the store takes no writes', [], ['store'], 'degraded', 'pass fail warn'],
  ['the log is not ready', ['audit_ready'], [], 'unhealthy', 'pass fail pass'],
  ['the service stops', ['draining'], [], 'unhealthy', 'pass pass pass'],
] as const)
  test(`health where ${name}: ${status}`, () => {
    const health = healthOf({ ready: missing.length === 0, missing, degraded });
    assert.equal(health.status, status);
    assert.equal(health.checks.map((check) => check.status).join(' '), checks);
  });

test('a bug is INTERNAL_ERROR with the headers of every answer, and nothing of its cause', async () => {
  const dialect = kmsV1Dialect(noOperations, kmsV1Parts({ corsOrigins: ['https://a.test'] }));
  const bugs: unknown[] = [];
  const server = new HttpServer({
    dialects: [dialect],
    requestPath: (() => {
      throw new Error('a bug with a secret in it');
    }) as ServerParts['requestPath'],
    health: createHealth(),
    metrics: async () => ({ contentType: 'text/plain', text: '' }),
    authenticator: { authenticate: () => ({ ok: false, failure: { code: 'Unauthenticated' } }) },
    version: {},
    refusals: new RateLimits([{ count: 100, windowMs: 1_000 }], 10),
    clock: systemClock,
    onRefused: () => {},
    onBug: (cause) => void bugs.push(cause),
    onInternal: () => {},
  });
  const ask = (path: string) =>
    new Promise<Response>((resolve) => {
      server.onExchange({
        ...{ scheme: 'http' as const, method: 'post', path, query: '', body: Buffer.alloc(0) },
        cancellation: createCancellation(),
        headers: { origin: 'https://a.test', severalAuthorizations: false } as Exchange['headers'],
        peer: () => peerAt('tcp', '127.0.0.1'),
        respond: resolve,
      });
    });
  const { status, body, headers } = await ask('/kms/v1/sign');
  const named = Object.fromEntries(headers);
  assert.equal(status, 500);
  assert.equal(JSON.parse(String(body)).error.code, 'INTERNAL_ERROR');
  assert.ok(!String(body).includes('secret'));
  assert.match(String(named['x-trace-id']), /^[0-9a-f]{32}$/);
  assert.equal(named['access-control-allow-origin'], 'https://a.test');
  assert.equal(bugs.length, 1);
  for (const code of ['TooLarge', 'LengthRequired', 'HeadersTooLarge', 'SlowBody', 'malformed'] as const) {
    const refused = server.refused(code, {} as Exchange['headers'], '/kms/v1/sign');
    assert.match(String(Object.fromEntries(refused.headers)['x-trace-id']), /^[0-9a-f]{32}$/, code);
    assert.match(String(Object.fromEntries(refused.headers)['x-span-id']), /^[0-9a-f]{16}$/, code);
    assertFits(errorEnvelope, JSON.parse(String(refused.body)));
  }
});
