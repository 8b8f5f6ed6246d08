import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { jainIndex, maxMinSharesUs, ServiceSpread } from '../../bench/simulator/fairness.ts';

test("Jain's index is 1 for equal values and 1/n when one has all", () => {
  assert.equal(jainIndex([3, 3, 3]), 1);
  assert.equal(jainIndex([5, 0, 0, 0]), 0.25);
  assert.equal(jainIndex([]), undefined);
  assert.equal(jainIndex([0, 0]), undefined);
});

test('max-min shares fill the capacity, exceed no demand, and only those who want more are equal', () => {
  const demand = fc.record({
    demandUs: fc.integer({ min: 0, max: 1000 }),
    weight: fc.integer({ min: 1, max: 8 }),
  });
  fc.assert(
    fc.property(fc.array(demand, { minLength: 1, maxLength: 30 }), fc.nat(20_000), (demands, capacityUs) => {
      const shares = maxMinSharesUs(demands, capacityUs);
      const wantedUs = demands.reduce((sum, { demandUs }) => sum + demandUs, 0);
      const givenUs = shares.reduce((sum, share) => sum + share, 0);
      assert.ok(Math.abs(givenUs - Math.min(wantedUs, capacityUs)) < 1e-6);
      const perWeight = demands.map(({ weight }, index) => (shares[index] as number) / weight);
      const most = Math.max(...perWeight);
      for (const [index, { demandUs }] of demands.entries()) {
        const share = shares[index] as number;
        assert.ok(share <= demandUs);
        // Who has less than it wants has as much per weight as anybody.
        if (share < demandUs - 1e-6) assert.ok((perWeight[index] as number) > most - 1e-6);
      }
    }),
    { seed: 12, numRuns: 300 },
  );
});

test('the spread of services is what comparing all pairs at every step gives', () => {
  const service = fc.record({ member: fc.nat(5), costUs: fc.integer({ min: 1, max: 50 }) });
  fc.assert(
    fc.property(fc.array(service, { maxLength: 200 }), (services) => {
      const weights = [1, 1, 2, 4, 1, 2];
      const spread = new ServiceSpread(weights);
      const served = weights.map(() => 0);
      let mostUs = 0;
      for (const { member, costUs } of services) {
        served[member] = (served[member] as number) + costUs / (weights[member] as number);
        mostUs = Math.max(mostUs, Math.max(...served) - Math.min(...served));
        spread.serve(member, costUs);
      }
      assert.equal(spread.maxUs, mostUs);
    }),
    { seed: 13, numRuns: 200 },
  );
});
