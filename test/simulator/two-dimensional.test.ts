import assert from 'node:assert/strict';
import test from 'node:test';
import { mixedTenants, simulateMixed } from '../../bench/simulator/two-dimensional.ts';
import { workOf } from '../../bench/simulator/workload.ts';

const options = { seed: 3, cores: 8, durationMs: 300, quantumUs: 300, hopUs: 25 };

for (const policy of ['deficit round robin', '2DFQ'] as const) {
  test(`${policy}: workers are busy, tenants that always wait are served alike, and small calls are all served`, () => {
    const work = workOf('rsa-4096', 'sign');
    const { servedPerSecond, leastShare, waitMs } = simulateMixed(
      { ...options, tenants: mixedTenants(work, 8, 20, 100) },
      policy,
    );
    assert.ok((servedPerSecond.dear as number) > (0.9 * options.cores * 1e6) / work.costUs);
    assert.ok(leastShare > 0.9, `${leastShare}`);
    assert.ok(Math.abs((servedPerSecond.hmac as number) / 2_000 - 1) < 0.2);
    assert.ok((waitMs.hmac?.p99 as number) < 20);
  });
}
