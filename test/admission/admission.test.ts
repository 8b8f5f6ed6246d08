import assert from 'node:assert/strict';
import test from 'node:test';
import { Admission } from '../../src/admission/admission.ts';
import { createCostMeter } from '../../src/queue/cost-meter.ts';
import { createDrainRate } from '../../src/queue/drain-rate.ts';

const admission = (over: Partial<ConstructorParameters<typeof Admission>[0]> = {}) =>
  new Admission({
    rates: { 'kms:sign': [{ count: 3, windowMs: 1_000 }] },
    defaultDeadlineMs: 250,
    batchDeadlineMs: 2_000,
    maxDeadlineMs: 2_000,
    ...over,
  });

test('a call without a wish has the default deadline, a batch a longer one', () => {
  assert.deepEqual(admission().deadlineMs(undefined, false), { ok: true, value: 250 });
  assert.deepEqual(admission().deadlineMs(undefined, true), { ok: true, value: 2_000 });
});

test('a wish is taken as it is, and cut to the longest deadline', () => {
  assert.deepEqual(admission().deadlineMs('10', false), { ok: true, value: 10 });
  assert.deepEqual(admission().deadlineMs('30000', false), { ok: true, value: 2_000 });
});

for (const wish of ['0', '-1', '1.5', '1e3', '', ' 5', 'soon', '60001', '99999999999', '0x10']) {
  test(`the deadline ${JSON.stringify(wish)} is refused`, () => {
    const refused = admission().deadlineMs(wish, false);
    assert.equal(refused.ok ? undefined : refused.failure.code, 'BadRequest');
  });
}

test('a rate is counted for each tenant and scope', () => {
  const gate = admission();
  for (let n = 0; n < 3; n++) assert.equal(gate.enter('acme', 'kms:sign', 0), undefined);
  const refused = gate.enter('acme', 'kms:sign', 0);
  assert.equal(refused?.failure.code, 'RateLimited');
  assert.equal(refused?.failure.retryAfterMs, 334);
  assert.equal(gate.enter('acme', 'kms:verify', 0), undefined, 'another scope');
  assert.equal(gate.enter('beta', 'kms:sign', 0), undefined, 'another tenant');
});

test('each item of a batch is counted, and those beyond the rate are refused one by one', () => {
  const gate = admission();
  gate.enter('acme', 'kms:sign', 0);
  const more = gate.enterMore('acme', 'kms:sign', 5, 0);
  assert.equal(more.admitted, 2);
  assert.equal(more.refused?.failure.code, 'RateLimited');
  assert.deepEqual(gate.enterMore('acme', 'kms:verify', 5, 0), { admitted: 5, refused: undefined });
});

test('what is given back can be taken again, and is never more than the limit', () => {
  const gate = admission();
  gate.giveBack('acme', 'kms:sign', 100);
  for (let n = 0; n < 3; n++) assert.equal(gate.enter('acme', 'kms:sign', 0), undefined);
  gate.giveBack('acme', 'kms:sign', 1);
  assert.equal(gate.enter('acme', 'kms:sign', 0), undefined);
  assert.equal(gate.enter('acme', 'kms:sign', 0)?.failure.code, 'RateLimited');
  gate.giveBack('acme', 'kms:sign', 100);
  assert.equal(gate.enterMore('acme', 'kms:sign', 100, 0).admitted, 3);
});

test('a price follows what is measured, and one stall does not set it', () => {
  const meter = createCostMeter(20);
  for (let n = 0; n < 100; n++) meter.observe(200);
  assert.ok(Math.abs(meter.costUs - 200) < 1);
  meter.observe(1_000_000);
  assert.ok(meter.costUs < 300);
});

test('a price is never under a microsecond', () => {
  const meter = createCostMeter(5);
  for (let n = 0; n < 1_000; n++) meter.observe(0);
  assert.equal(meter.costUs, 1);
});

test('the drain rate learns that cores are shared, from the time that workers had jobs in hand', () => {
  const rate = createDrainRate();
  assert.equal(rate.stretch, 1);
  for (let n = 1; n <= 10_000; n++) rate.jobEnded(1_000, 2_000);
  assert.ok(Math.abs(rate.stretch - 2) < 0.1);
});

test('a time that is none leaves the drain rate alone', () => {
  const rate = createDrainRate();
  for (const busyUs of [Number.NaN, -1]) rate.jobEnded(1_000, busyUs);
  assert.equal(rate.stretch, 1);
});

test('scopes that share a rate use it up together, and a refusal takes nothing from either limit', () => {
  const gate = admission({
    rates: { 'kms:create': [{ count: 3, windowMs: 1_000 }] },
    sharedRates: [{ scopes: ['kms:create', 'kms:rotate'], windows: [{ count: 4, windowMs: 10_000 }] }],
  });
  for (let n = 0; n < 2; n++) assert.equal(gate.enter('acme', 'kms:create', 0), undefined);
  for (let n = 0; n < 2; n++) assert.equal(gate.enter('acme', 'kms:rotate', 0), undefined);
  assert.equal(gate.enter('acme', 'kms:rotate', 0)?.failure.retryAfterMs, 2_500);
  assert.equal(gate.enter('acme', 'kms:create', 0)?.failure.retryAfterMs, 2_500);
  assert.equal(gate.enter('beta', 'kms:create', 0), undefined, 'another tenant');
  gate.giveBack('acme', 'kms:rotate', 1);
  assert.equal(gate.enter('acme', 'kms:create', 0), undefined, 'its own limit has one left');
});

test('items of a batch are within all limits of their scope', () => {
  const gate = admission({
    rates: { 'kms:sign': [{ count: 5, windowMs: 1_000 }] },
    sharedRates: [{ scopes: ['kms:sign', 'kms:verify'], windows: [{ count: 3, windowMs: 1_000 }] }],
  });
  assert.equal(gate.enterMore('acme', 'kms:sign', 10, 0).admitted, 3);
  gate.giveBack('acme', 'kms:verify', 3);
  assert.equal(gate.enterMore('acme', 'kms:sign', 10, 0).admitted, 2);
});
