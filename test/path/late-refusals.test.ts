import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { Admission } from '../../src/admission/admission.ts';
import { LateRefusals } from '../../src/admission/late-refusals.ts';
import { ThreadShare } from '../../src/admission/thread-share.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { ok } from '../../src/core/result.ts';
import { type CallRequest, createRequestPath, type RequestPathParts } from '../../src/request-path.ts';

/** The path up to where a body would be parsed; the token is the tenant's name. Time stands still but for `later`. */
function pathOf(t: TestContext, perSecond: number) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let nowMs = 1_000;
  const admission = new Admission({
    rates: { 'kms:sign': [{ count: perSecond, windowMs: 1_000 }] },
    keyUses: [],
    defaultDeadlineMs: 250,
    batchDeadlineMs: 250,
    maxDeadlineMs: 2_000,
  });
  const options = { turnMs: 1, windowMs: 1_000, tolerance: 1.5, allowance: 10 };
  const parts = {
    admission,
    authenticator: {
      authenticate: (token: string) => ok({ tenant: token, actor: token, scopes: new Set(['kms:sign']) }),
    },
    clock: { monotonicMs: () => nowMs, utcMs: () => nowMs },
    signatures: { refusal: () => undefined },
    lateRefusals: new LateRefusals(),
    threadShare: new ThreadShare(options, { atTurnEnd: () => {} }),
  } as unknown as RequestPathParts;
  const path = createRequestPath(parts);
  const parsed = { ok: false, failure: { code: 'BadRequest' } };
  const call = (tenant: string, deadlineWish?: string) =>
    path({
      operation: { name: 'sign', kind: 'crypto', scope: 'kms:sign', batch: false, parse: () => parsed },
      token: tenant,
      deadlineWish,
      cancellation: createCancellation(),
    } as unknown as CallRequest);
  return { call, later: (ms: number) => (nowMs += ms), held: () => parts.lateRefusals.held };
}

const codeOf = (answer: unknown) => (answer as { failure?: { code: string } }).failure?.code;

test('who floods a long turn is refused when its deadline is over; others go on at once', async (t) => {
  const { call, later, held } = pathOf(t, 100_000);
  assert.equal(codeOf(call('victim')), 'BadRequest', 'it came to be parsed');
  for (let n = 0; n < 100; n++) assert.equal(codeOf(call('flood')), 'BadRequest');
  later(2);
  const refused = call('flood', '400');
  assert.ok(refused instanceof Promise);
  assert.equal(codeOf(call('victim')), 'BadRequest');
  assert.equal(held(), 1);
  let answer: unknown;
  void refused.then((given) => {
    answer = given;
  });
  t.mock.timers.tick(399);
  await Promise.resolve();
  assert.equal(answer, undefined);
  t.mock.timers.tick(1);
  await Promise.resolve();
  assert.equal(codeOf(answer), 'Backpressure');
});

test('other refusals are late too while their tenant is over its share, and at once otherwise', (t) => {
  const { call } = pathOf(t, 5);
  assert.equal(codeOf(call('victim')), 'BadRequest');
  for (let n = 0; n < 5; n++) assert.equal(codeOf(call('flood')), 'BadRequest');
  for (let n = 0; n < 8; n++) assert.equal(codeOf(call('flood')), 'RateLimited');
  for (let n = 0; n < 100; n++) call('flood');
  assert.ok(call('flood') instanceof Promise);
});

test('a tenant that is alone hears at once that it is refused', (t) => {
  const { call } = pathOf(t, 5);
  for (let n = 0; n < 1_000; n++) call('alone');
  assert.equal(codeOf(call('alone')), 'RateLimited');
});

test('a deadline that cannot be read is no reason to wait', (t) => {
  const { call, later } = pathOf(t, 100_000);
  call('victim');
  for (let n = 0; n < 100; n++) call('flood');
  later(2);
  assert.equal(codeOf(call('flood', 'soon')), 'BadRequest');
});
