import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { RateLimits } from '../../src/admission/rate-limits.ts';
import { fullBucket, take, waitMs } from '../../src/admission/token-bucket.ts';

const perSecond = { capacity: 10, tokensPerMs: 0.01 };

test('a bucket gives its burst at once and then its rate', () => {
  const bucket = fullBucket(perSecond, 0);
  for (let n = 0; n < 10; n++) assert.equal(take(bucket, perSecond, 1, 0), 0);
  assert.equal(take(bucket, perSecond, 1, 0), 100);
  assert.equal(take(bucket, perSecond, 1, 99), 1);
  assert.equal(take(bucket, perSecond, 1, 100), 0);
});

test('a caller that waits as long as it was told is served', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1_000 }),
      fc.integer({ min: 1, max: 100_000 }),
      fc.integer({ min: 0, max: 2_000 }),
      (count, windowMs, uses) => {
        const limits = new RateLimits([{ count, windowMs }], 10);
        let nowMs = 0;
        for (let n = 0; n < uses; n++) {
          const retryAfterMs = limits.take('acme', nowMs);
          if (retryAfterMs === 0) continue;
          nowMs += retryAfterMs;
          assert.equal(limits.take('acme', nowMs), 0, 'the time that was told is enough');
        }
      },
    ),
    { numRuns: 50 },
  );
});

test('in no window are more uses granted than its burst and its rate', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 500 }), { maxLength: 300 }), (pausesMs) => {
      const limits = new RateLimits([{ count: 10, windowMs: 1_000 }], 10);
      let nowMs = 0;
      let granted = 0;
      for (const pauseMs of pausesMs) {
        nowMs += pauseMs;
        if (limits.take('acme', nowMs) === 0) granted++;
      }
      assert.ok(granted <= 10 + nowMs * 0.01 + 1e-6);
    }),
  );
});

test('a clock that goes back neither opens a bucket nor wedges it', () => {
  const bucket = fullBucket(perSecond, 1_000_000);
  for (let n = 0; n < 10; n++) take(bucket, perSecond, 1, 1_000_000);
  assert.ok(take(bucket, perSecond, 1, 0) > 0, 'nothing is gained by the step back');
  assert.equal(waitMs(bucket, perSecond, 1), 100);
  assert.equal(take(bucket, perSecond, 1, 100), 0, 'the refill goes on from the new time');
});

test('clock steps forth and back do not make a limiter forget who has used up a limit', () => {
  const limits = new RateLimits([{ count: 5, windowMs: 86_400_000 }], 100);
  for (let n = 0; n < 5; n++) limits.take('acme', 1_000);
  for (const nowMs of [900, 800, 1_200, 700, 600, 500]) assert.ok(limits.take('acme', nowMs) > 0);
});

test('several windows hold together, and a refusal by one takes nothing from the others', () => {
  const limits = new RateLimits(
    [
      { count: 2, windowMs: 1_000 },
      { count: 3, windowMs: 86_400_000 },
    ],
    10,
  );
  assert.equal(limits.take('acme', 0), 0);
  assert.equal(limits.take('acme', 0), 0);
  assert.equal(limits.take('acme', 0), 500);
  assert.equal(limits.take('acme', 500), 0, 'the refused one did not count for the day');
  assert.ok(limits.take('acme', 2_000) > 28_000_000, 'the day is used up');
});

test('tenants have counts of their own', () => {
  const limits = new RateLimits([{ count: 1, windowMs: 1_000 }], 10);
  assert.equal(limits.take('acme', 0), 0);
  assert.equal(limits.take('beta', 0), 0);
  assert.ok(limits.take('acme', 0) > 0);
});

test('a batch takes as many uses as there are, and no more', () => {
  const limits = new RateLimits([{ count: 10, windowMs: 1_000 }], 10);
  assert.deepEqual(limits.takeUpTo('acme', 4, 0), { taken: 4, retryAfterMs: 0 });
  const rest = limits.takeUpTo('acme', 20, 0);
  assert.equal(rest.taken, 6);
  assert.equal(rest.retryAfterMs, 100);
  assert.equal(limits.takeUpTo('acme', 1, 0).taken, 0);
});

test('names that stopped are forgotten, and names in use are bounded', () => {
  const limits = new RateLimits([{ count: 10, windowMs: 1_000 }], 100);
  for (let n = 0; n < 1_000; n++) limits.take(`tenant-${n}`, 0);
  assert.ok(limits.names <= 200);
  limits.take('one', 10_000);
  limits.take('one', 20_000);
  assert.equal(limits.names, 1);
});

test('without windows there is no limit and no memory', () => {
  const limits = new RateLimits([], 10);
  for (let n = 0; n < 1_000; n++) assert.equal(limits.take(`tenant-${n}`, 0), 0);
  assert.equal(limits.names, 0);
});
