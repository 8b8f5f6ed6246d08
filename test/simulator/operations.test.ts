import assert from 'node:assert/strict';
import test from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { Random } from '../../bench/simulator/random.ts';
import { type Call, FairScheduler } from '../../src/queue/scheduler.ts';
import { anyCall, createCall, drawOnce, never, offerOrFail, unbounded } from './calls.ts';

// How much work the scheduler does is counted, not timed: what it reads of calls (each step of a draw looks at one),
// and what it asks of its map of tenants.

const counted = { callReads: 0, mapOperations: 0 };

class CountedCall implements Call {
  readonly tenant: string;
  readonly callClass = 'sign';
  readonly #costUs: number;

  constructor(tenant: string, costUs: number) {
    this.tenant = tenant;
    this.#costUs = costUs;
  }

  get costUs(): number {
    counted.callReads++;
    return this.#costUs;
  }

  get deadlineAtMs(): number {
    counted.callReads++;
    return never;
  }
}

function countMapOperations(during: () => void): void {
  const { get, set, delete: remove, forEach } = Map.prototype;
  const iterators = {
    entries: Map.prototype.entries,
    keys: Map.prototype.keys,
    values: Map.prototype.values,
  };
  const counting = <F extends (...args: never[]) => unknown>(original: F): F =>
    function (this: unknown, ...args: never[]) {
      counted.mapOperations++;
      return original.apply(this, args);
    } as F;
  Object.assign(Map.prototype, {
    get: counting(get),
    set: counting(set),
    delete: counting(remove),
    forEach: counting(forEach),
    entries: counting(iterators.entries),
    keys: counting(iterators.keys),
    values: counting(iterators.values),
  });
  try {
    during();
  } finally {
    Object.assign(Map.prototype, { get, set, delete: remove, forEach, ...iterators });
  }
}

test('a request costs the same number of steps with 100, 10,000 and 1,000,000 known tenants', () => {
  const stepsWith = (known: number) => {
    const scheduler = new FairScheduler<Call>(unbounded(300));
    for (let tenant = 0; tenant < known; tenant++) {
      offerOrFail(scheduler, createCall(`tenant-${tenant}`, 100));
      if (scheduler.waitingCalls === 100) while (scheduler.waitingCalls > 0) drawOnce(scheduler, 300, 64);
    }
    for (let tenant = 0; tenant < 200; tenant++) {
      offerOrFail(scheduler, new CountedCall(`tenant-${tenant % 100}`, 100));
    }
    counted.callReads = 0;
    counted.mapOperations = 0;
    countMapOperations(() => {
      for (let request = 0; request < 5000; request++) {
        // A hundred tenants always wait, and another comes for one call.
        offerOrFail(scheduler, new CountedCall(`visitor-${request % 50}`, 30));
        for (const { tenant } of drawOnce(scheduler, 200, 2).due) {
          if (tenant.startsWith('tenant'))
            offerOrFail(scheduler, new CountedCall(tenant, 100 + (request % 7)));
        }
        assert.ok(scheduler.activeTenants >= 100);
      }
    });
    return { ...counted };
  };
  const few = stepsWith(100);
  assert.ok(few.callReads > 0 && few.mapOperations > 0);
  assert.deepEqual(stepsWith(10_000), few);
  assert.deepEqual(stepsWith(1_000_000), few);
});

test('tenants without a waiting call take no memory', () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const scheduler = new FairScheduler<Call>(unbounded(300));
  const visit = (from: number, to: number) => {
    for (let tenant = from; tenant < to; tenant++) {
      offerOrFail(scheduler, createCall(`tenant-${tenant}`, 100));
      if (scheduler.waitingCalls === 64) while (scheduler.waitingCalls > 0) drawOnce(scheduler, 300, 64);
    }
  };
  visit(0, 1000 * 64);
  collect();
  const before = process.memoryUsage().heapUsed;
  visit(1000 * 64, 9000 * 64);
  collect();
  assert.equal(scheduler.activeTenants, 0);
  const bytesPerTenant = (process.memoryUsage().heapUsed - before) / (8000 * 64);
  assert.ok(bytesPerTenant < 1, `${bytesPerTenant} bytes for each tenant that was there once`);
});

test('a draw among dear calls takes a few steps for each waiting tenant, not one for each quantum of their cost', () => {
  const tenants = 2000;
  for (const costUs of [1000, 100_000, 10_000_000]) {
    const scheduler = new FairScheduler<Call>(unbounded(300));
    for (let tenant = 0; tenant < tenants; tenant++) {
      offerOrFail(scheduler, new CountedCall(`tenant-${tenant}`, costUs));
    }
    counted.callReads = 0;
    assert.equal(drawOnce(scheduler, 300, 64).due.length, 1);
    assert.ok(counted.callReads <= 8 * tenants, `${counted.callReads / tenants} for each tenant`);
  }
});

/** Deficit round robin as it is in the paper: round after round, turn after turn. Calls of a tenant in order. */
function plainOrder(
  queues: readonly { readonly weight: number; readonly costs: readonly number[] }[],
  quantumUs: number,
): string[] {
  const order: string[] = [];
  let ring = queues.map(({ weight, costs }, tenant) => ({ tenant, weight, costs: [...costs], deficitUs: 0 }));
  while (ring.length > 0) {
    for (const queue of ring) {
      queue.deficitUs += quantumUs * queue.weight;
      while (queue.costs.length > 0 && (queue.costs[0] as number) <= queue.deficitUs) {
        const costUs = queue.costs.shift() as number;
        queue.deficitUs -= costUs;
        order.push(`${queue.tenant}:${costUs}`);
      }
    }
    ring = ring.filter(({ costs }) => costs.length > 0);
  }
  return order;
}

test('calls are served in the order of plain deficit round robin', () => {
  const queue = fc.record({
    weight: fc.constantFrom(1, 2, 3),
    costs: fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 12 }),
  });
  fc.assert(
    fc.property(
      fc.array(queue, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 1, max: 1000 }),
      fc.integer({ min: 1, max: 2000 }),
      (queues, quantumUs, budgetUs) => {
        const weightOf = (tenant: string) => queues[Number(tenant)]?.weight as number;
        const scheduler = new FairScheduler<Call>(unbounded(quantumUs), weightOf);
        for (const [tenant, { costs }] of queues.entries()) {
          for (const costUs of costs) offerOrFail(scheduler, createCall(String(tenant), costUs));
        }
        const order: string[] = [];
        while (scheduler.waitingCalls > 0) {
          for (const call of drawOnce(scheduler, budgetUs, 8).due)
            order.push(`${call.tenant}:${call.costUs}`);
        }
        assert.deepEqual(order, plainOrder(queues, quantumUs));
      },
    ),
    { seed: 31, numRuns: 300 },
  );
});

test('when nothing waits, no work waits: fractions of a microsecond do not add up', () => {
  const random = Random.seeded(5, 0);
  const scheduler = new FairScheduler<Call>(unbounded(300), () => 0.1);
  for (let round = 0; round < 200; round++) {
    for (let n = 0; n < 20; n++) {
      const { tenant, costUs } = anyCall(String(n % 7), { weight: 1, maxCostUs: 300, classes: 1 }, random);
      offerOrFail(scheduler, createCall(tenant, costUs / 3));
    }
    while (scheduler.waitingCalls > 0) drawOnce(scheduler, 300, 64);
    assert.equal(scheduler.waitingCostUs, 0);
    assert.equal(scheduler.workAheadUs('0'), 0);
  }
});
