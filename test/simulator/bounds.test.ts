import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { Random } from '../../bench/simulator/random.ts';
import { type Call, FairScheduler, type Ticket } from '../../src/queue/scheduler.ts';
import { anyCall, createCall, drawOnce, offerOrFail, type Profile, unbounded } from './calls.ts';

// The bounds are derived in docs/fairness.md.

const setting = fc.record({
  profiles: fc.array(
    fc.record({
      weight: fc.constantFrom(0.5, 1, 2, 5),
      maxCostUs: fc.constantFrom(1, 60, 300, 4000),
      classes: fc.integer({ min: 1, max: 3 }),
    }),
    { minLength: 2, maxLength: 12 },
  ),
  quantumUs: fc.constantFrom(50, 300, 5000),
  budgetUs: fc.constantFrom(1, 300, 2000),
  maxCalls: fc.constantFrom(1, 7, 64),
  seed: fc.nat(1_000_000),
});

const rounding = 1e-6;

function schedulerFor(profiles: readonly Profile[], quantumUs: number): FairScheduler<Call> {
  return new FairScheduler<Call>(
    unbounded(quantumUs),
    (tenant) => (profiles[Number(tenant)] as Profile).weight,
  );
}

test('services of tenants that always wait differ by at most one quantum plus one call, whatever is drawn or cancelled', () => {
  fc.assert(
    fc.property(setting, ({ profiles, quantumUs, budgetUs, maxCalls, seed }) => {
      const random = Random.seeded(seed, 0);
      const scheduler = schedulerFor(profiles, quantumUs);
      const tickets: Ticket<Call>[][] = profiles.map(() => []);
      const offer = (tenant: number) =>
        tickets[tenant]?.push(
          offerOrFail(scheduler, anyCall(String(tenant), profiles[tenant] as Profile, random)),
        );
      for (let tenant = 0; tenant < profiles.length; tenant++)
        for (let n = 0; n <= maxCalls; n++) offer(tenant);
      const served = profiles.map(() => 0);
      const perCallUs = profiles.map(({ maxCostUs, weight }) => maxCostUs / weight);
      for (let step = 0; step < 150; step++) {
        for (const call of drawOnce(scheduler, budgetUs, maxCalls).due) {
          const tenant = Number(call.tenant);
          served[tenant] = (served[tenant] as number) + call.costUs / (profiles[tenant] as Profile).weight;
          offer(tenant);
          for (const [other, otherUs] of served.entries()) {
            const boundUs = quantumUs + Math.max(perCallUs[tenant] as number, perCallUs[other] as number);
            assert.ok(Math.abs((served[tenant] as number) - otherUs) <= boundUs + rounding);
          }
        }
        // Somebody's caller goes away; another call comes first, so that the tenant goes on waiting.
        const tenant = random.word() % profiles.length;
        offer(tenant);
        const own = tickets[tenant] as Ticket<Call>[];
        scheduler.cancel(own[random.word() % own.length] as Ticket<Call>);
      }
    }),
    { seed: 21, numRuns: 150 },
  );
});

test('between two calls of a tenant that waits, others are served a bounded amount, however they come and go', () => {
  fc.assert(
    fc.property(setting, ({ profiles, quantumUs, budgetUs, maxCalls, seed }) => {
      const random = Random.seeded(seed, 0);
      const scheduler = schedulerFor(profiles, quantumUs);
      const [own, ...others] = profiles as [Profile, ...Profile[]];
      const turns = Math.ceil(own.maxCostUs / (quantumUs * own.weight));
      let boundUs = 0;
      for (const { weight, maxCostUs } of others) boundUs += turns * quantumUs * weight + maxCostUs;
      let waiting = 0;
      let aheadUs = 0;
      for (let step = 0; step < 400; step++) {
        while (waiting <= maxCalls) {
          offerOrFail(scheduler, anyCall('0', own, random));
          waiting++;
        }
        // The others flood, pause and return.
        const other = 1 + (random.word() % others.length);
        for (let n = random.word() % 8; n > 0; n--) {
          offerOrFail(scheduler, anyCall(String(other), profiles[other] as Profile, random));
        }
        for (const { tenant, costUs } of drawOnce(scheduler, budgetUs, maxCalls).due) {
          if (tenant === '0') {
            aheadUs = 0;
            waiting--;
          } else {
            aheadUs += costUs;
            assert.ok(aheadUs <= boundUs + rounding, `${aheadUs} us were served, ${boundUs} us may be`);
          }
        }
      }
    }),
    { seed: 22, numRuns: 150 },
  );
});

test('a draw gives at least one call when any waits, also one that costs more than the budget and many quanta', () => {
  fc.assert(
    fc.property(setting, ({ profiles, quantumUs, budgetUs, maxCalls, seed }) => {
      const random = Random.seeded(seed, 0);
      const scheduler = schedulerFor(profiles, quantumUs);
      for (const [tenant, profile] of profiles.entries()) {
        for (let n = random.word() % 10; n > 0; n--)
          offerOrFail(scheduler, anyCall(String(tenant), profile, random));
      }
      while (scheduler.waitingCalls > 0) {
        const { due } = drawOnce(scheduler, budgetUs, maxCalls);
        assert.ok(due.length >= 1 && due.length <= maxCalls);
        const costUs = due.reduce((sum, call) => sum + call.costUs, 0);
        assert.ok(due.length === 1 || costUs <= budgetUs);
      }
      assert.equal(scheduler.activeTenants, 0);
      assert.equal(scheduler.waitingCostUs, 0);
    }),
    { seed: 23, numRuns: 150 },
  );
});

test('classes of one tenant that always wait are served alike, to within one call', () => {
  fc.assert(
    fc.property(fc.nat(1_000_000), fc.constantFrom(1, 300, 5000), (seed, quantumUs) => {
      const random = Random.seeded(seed, 0);
      const scheduler = new FairScheduler<Call>(unbounded(quantumUs));
      const costs = { sign: 4000, verify: 25, manage: 300 } as const;
      const served = { sign: 0, verify: 0, manage: 0 };
      const classes = ['sign', 'verify', 'manage'] as const;
      const offer = (callClass: (typeof classes)[number]) =>
        offerOrFail(scheduler, createCall('a', 1 + (random.word() % costs[callClass]), callClass));
      for (const callClass of classes) for (let n = 0; n < 9; n++) offer(callClass);
      for (let step = 0; step < 300; step++) {
        for (const { callClass, costUs } of drawOnce(scheduler, 300, 8).due) {
          served[callClass] += costUs;
          offer(callClass);
          assert.ok(Math.max(...Object.values(served)) - Math.min(...Object.values(served)) <= costs.sign);
        }
      }
    }),
    { seed: 24, numRuns: 60 },
  );
});

test('an idle class gains nothing over one that went on, and loses nothing to it', () => {
  const scheduler = new FairScheduler<Call>(unbounded(300));
  const offer = (callClass: 'sign' | 'verify') => offerOrFail(scheduler, createCall('a', 100, callClass));
  for (let n = 0; n < 10; n++) offer('sign');
  drawOnce(scheduler, 500, 64);
  for (let n = 0; n < 10; n++) offer('verify');
  const classes = drawOnce(scheduler, 1000, 64).due.map(({ callClass }) => callClass);
  assert.equal(classes.filter((callClass) => callClass === 'verify').length, 5);
});
