import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { SimulatedCall } from '../../bench/simulator/call.ts';
import { reportOn } from '../../bench/simulator/report.ts';
import { type SimulatorOptions, simulate } from '../../bench/simulator/simulator.ts';
import { type Arrivals, type TenantClass, workOf } from '../../bench/simulator/workload.ts';

const works = [
  workOf('ed25519', 'sign'),
  workOf('ed25519', 'verify'),
  workOf('ml-dsa-65', 'sign'),
  workOf('rsa-2048', 'sign'),
  workOf('rsa-4096', 'sign'),
];

const arrivals: fc.Arbitrary<Arrivals> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('poisson' as const, 'constant' as const),
    ratePerSecond: fc.integer({ min: 100, max: 20_000 }),
  }),
  fc.record({
    kind: fc.constant('bursty' as const),
    ratePerSecond: fc.integer({ min: 100, max: 20_000 }),
    onMs: fc.integer({ min: 1, max: 10 }),
    offMs: fc.integer({ min: 1, max: 30 }),
  }),
);

const tenantClasses: fc.Arbitrary<TenantClass[]> = fc
  .array(
    fc.record({
      tenants: fc.integer({ min: 1, max: 5 }),
      weight: fc.constantFrom(0.5, 1, 3),
      arrivals,
      mix: fc.array(fc.record({ work: fc.constantFrom(...works), share: fc.integer({ min: 1, max: 9 }) }), {
        minLength: 1,
        maxLength: 3,
      }),
      deadlineMs: fc.constantFrom(0.5, 5, 250),
      cancelShare: fc.constantFrom(0, 0.3, 1),
      patienceMs: fc.constantFrom(0.1, 3),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((classes) => classes.map((one, index) => ({ ...one, name: `class-${index}` })));

const anyOptions: fc.Arbitrary<SimulatorOptions> = fc.record({
  seed: fc.nat(1_000_000),
  cores: fc.integer({ min: 1, max: 8 }),
  slotsPerWorker: fc.constantFrom(1, 2, 3),
  hopUs: fc.constantFrom(0, 25, 200),
  jobBudgetUs: fc.constantFrom(1, 300, 2000),
  soloBudgetUs: fc.constantFrom(1, 1000, 5000),
  jobMaxCalls: fc.constantFrom(1, 64),
  readyLeastUs: fc.constantFrom(0, 150, 1_000_000),
  readyMostUs: fc.constant(1_000_000),
  queueTargetMs: fc.constantFrom(1, 5, 1_000_000),
  runHereUpToUs: fc.constant(0),
  limits: fc.record({
    perTenantCalls: fc.constantFrom(4, 512),
    perTenantCostUs: fc.constantFrom(5000, 1e9),
    totalCalls: fc.constantFrom(8, 8192),
    quantumUs: fc.constantFrom(20, 300, 4000),
  }),
  admission: fc.constantFrom(
    { rates: {}, defaultDeadlineMs: 250, batchDeadlineMs: 2000, maxDeadlineMs: 2000 },
    {
      rates: { 'kms:sign': [{ count: 200, windowMs: 1000 }] },
      defaultDeadlineMs: 250,
      batchDeadlineMs: 2000,
      maxDeadlineMs: 2000,
    },
  ),
  warmUpMs: fc.constantFrom(0, 5),
  durationMs: fc.constant(30),
  noise: fc.constantFrom(0, 0.4),
  machineFactor: fc.constantFrom(0.5, 1, 3),
  classes: tenantClasses,
});

test('every admitted call ends exactly once: served, expired or cancelled', async () => {
  const seen = { served: 0, expired: 0, cancelled: 0, refused: 0 };
  let overtook = 0;
  await fc.assert(
    fc.asyncProperty(anyOptions, async (options) => {
      const ended = new Map<SimulatedCall, string>();
      const drawn = new Set<SimulatedCall>();
      const { totals, classes } = await simulate(options, {
        drawn: (calls, _nowUs, ahead) => {
          if (ahead) overtook += calls.length;
          for (const call of calls) {
            assert.ok(!drawn.has(call) && !ended.has(call));
            drawn.add(call);
          }
        },
        ended: (call, ending) => {
          assert.ok(!ended.has(call));
          // Whoever reaches a worker is served; whoever expires or goes away has used no key.
          assert.equal(drawn.has(call), ending === 'served');
          ended.set(call, ending);
        },
      });
      assert.equal(totals.offered, totals.refused + totals.served + totals.expired + totals.cancelled);
      assert.equal(ended.size, totals.offered - totals.refused);
      for (const counts of classes) {
        const { served, expired, cancelled } = counts.ended;
        assert.equal(counts.offered, counts.refusedInAll + served + expired + cancelled);
      }
      for (const ending of Object.keys(seen) as (keyof typeof seen)[]) seen[ending] += totals[ending];
    }),
    { seed: 41, numRuns: 40 },
  );
  assert.ok(overtook > 100, `${overtook} calls overtook others`);
  for (const [ending, count] of Object.entries(seen)) assert.ok(count > 100, `${count} calls were ${ending}`);
});

test('no worker idles while a call waits', async () => {
  let waited = 0;
  await fc.assert(
    fc.asyncProperty(anyOptions, async (options) => {
      await simulate(options, {
        settled({ idleWorkers, waitingCalls }) {
          assert.ok(idleWorkers === 0 || waitingCalls === 0);
          if (waitingCalls > 0) waited++;
        },
      });
    }),
    { seed: 42, numRuns: 40 },
  );
  assert.ok(waited > 1000);
});

test('a tenant that always has a call waiting is served within the bound, beside any flood', async () => {
  const minCostUs = Math.min(...works.map(({ costUs }) => costUs));
  await fc.assert(
    fc.asyncProperty(anyOptions, async (given) => {
      // Costs as the scheduler believes them, nobody refused: otherwise the bound is one of prices, not of time.
      const flood = given.classes.map((one) => ({ ...one, weight: 1 }));
      const steady: TenantClass = {
        name: 'steady',
        tenants: 1,
        weight: 1,
        arrivals: { kind: 'saturating', waiting: given.jobMaxCalls + 1 },
        mix: [{ work: workOf('ml-dsa-65', 'sign'), share: 1 }],
        deadlineMs: 1e6,
        cancelShare: 0,
        patienceMs: 1,
      };
      const options: SimulatorOptions = {
        ...given,
        noise: 0,
        machineFactor: 1,
        admission: { ...given.admission, rates: {} },
        limits: { ...given.limits, perTenantCalls: 512, perTenantCostUs: 1e9, totalCalls: 8192 },
        classes: [steady, ...flood],
      };
      const { cores, slotsPerWorker, hopUs, jobBudgetUs, limits } = options;
      const dearestUs = 3800;
      const others = flood.reduce((sum, { tenants }) => sum + tenants, 0);
      const turns = Math.ceil(160 / limits.quantumUs);
      // See docs/fairness.md: what may be drawn before it, and what may already be with the workers.
      const aheadUs = others * (turns * limits.quantumUs + dearestUs) + 160;
      const underWayUs = cores * slotsPerWorker * (Math.max(jobBudgetUs, dearestUs) + hopUs);
      const boundUs = (aheadUs + hopUs * (aheadUs / minCostUs + 1) + underWayUs) / cores;
      let lastUs = 0;
      await simulate(options, {
        drawn(calls, nowUs) {
          if (!calls.some(({ tenant }) => tenant === 'steady-0')) return;
          assert.ok(nowUs - lastUs <= boundUs, `${nowUs - lastUs} us, ${boundUs} us are allowed`);
          lastUs = nowUs;
        },
      });
      assert.ok(lastUs >= (options.warmUpMs + options.durationMs) * 1000 - boundUs);
    }),
    { seed: 43, numRuns: 40 },
  );
});

test('the same seed gives the same report, byte for byte, and another seed another', async () => {
  await fc.assert(
    fc.asyncProperty(anyOptions, async (options) => {
      const text = async (seed: number) =>
        JSON.stringify(reportOn('run', options, await simulate({ ...options, seed })));
      const [first, second, other] = [
        await text(options.seed),
        await text(options.seed),
        await text(options.seed + 1),
      ];
      assert.equal(first, second);
      // Two runs with nothing but clockwork in them may well be alike.
      if (options.noise > 0) assert.notEqual(first, other);
    }),
    { seed: 44, numRuns: 20 },
  );
});
