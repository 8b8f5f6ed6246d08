import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import fc from 'fast-check';
import {
  type Call,
  type CallClass,
  callClasses,
  FairScheduler,
  type SchedulerLimits,
  type Ticket,
} from '../../src/queue/scheduler.ts';

interface Named extends Call {
  readonly name: number;
}

const roomy: SchedulerLimits = {
  perTenantCalls: 1_000_000,
  perTenantCostUs: Number.POSITIVE_INFINITY,
  totalCalls: 1_000_000,
  quantumUs: 300,
};

let lastName = 0;
function call(tenant: string, costUs: number, more: Partial<Call> = {}): Named {
  lastName += 1;
  return {
    name: lastName,
    tenant,
    costUs,
    callClass: 'sign',
    deadlineAtMs: Number.POSITIVE_INFINITY,
    ...more,
  };
}

function queue(scheduler: FairScheduler<Named>, offered: Named): Ticket<Named> {
  const offer = scheduler.offer(offered);
  assert.equal(offer.outcome, 'queued');
  return (offer as { ticket: Ticket<Named> }).ticket;
}

function draw(scheduler: FairScheduler<Named>, budgetUs = 0, maxCalls = 64, nowMs = 0) {
  const due: Ticket<Named>[] = [];
  const expired: Ticket<Named>[] = [];
  scheduler.draw(budgetUs, maxCalls, nowMs, due, expired);
  return { due: due.map(({ call }) => call), expired: expired.map(({ call }) => call), tickets: due };
}

/** Everything that waits, one call at a time. */
function drawAll(scheduler: FairScheduler<Named>): Named[] {
  const drawn: Named[] = [];
  while (scheduler.waitingCalls > 0) {
    const { due } = draw(scheduler, 0, 1);
    assert.equal(due.length, 1);
    drawn.push(...due);
  }
  return drawn;
}

const tenants = ['a', 'b', 'c', 'd'] as const;
const anyClass = fc.constantFrom<CallClass>(...callClasses);

describe('the scheduler, by any sequence of offers, cancellations and draws', () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('offer' as const),
        tenant: fc.constantFrom(...tenants),
        callClass: anyClass,
        costUs: fc.integer({ min: 1, max: 2_000 }),
        livesMs: fc.integer({ min: 0, max: 30 }),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(200) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('draw' as const),
        budgetUs: fc.integer({ min: 0, max: 3_000 }),
        maxCalls: fc.integer({ min: 1, max: 10 }),
        waitMs: fc.nat(10),
        /** Of what was drawn when only one tenant waited, so many of the last are not begun and come back. */
      }),
    },
  );
  const limits = fc.record({
    perTenantCalls: fc.integer({ min: 1, max: 12 }),
    perTenantCostUs: fc.integer({ min: 1, max: 8_000 }),
    totalCalls: fc.integer({ min: 1, max: 30 }),
    quantumUs: fc.integer({ min: 1, max: 1_000 }),
  });
  const weights = fc.record(
    Object.fromEntries(tenants.map((tenant) => [tenant, fc.integer({ min: 1, max: 5 })])),
  );

  test('each call leaves exactly once, within the bounds, in the order of its class; counts are true', () => {
    fc.assert(
      fc.property(
        limits,
        weights,
        fc.array(step, { maxLength: 150, size: 'max' }),
        (bounds, weightOf, steps) => {
          const scheduler = new FairScheduler<Named>(bounds, (tenant) => weightOf[tenant] as number);
          const waiting = new Map<number, Named>();
          const tickets: Ticket<Named>[] = [];
          const left = new Set<number>();
          let nowMs = 0;
          const leave = (gone: Named) => {
            assert.ok(waiting.delete(gone.name), 'it waited');
            assert.ok(!left.has(gone.name), 'it left once');
            left.add(gone.name);
          };
          const of = (tenant: string) => [...waiting.values()].filter((each) => each.tenant === tenant);
          const cost = (calls: Iterable<Named>) => [...calls].reduce((sum, { costUs }) => sum + costUs, 0);

          const drawOnce = (budgetUs: number, maxCalls: number) => {
            const { due, expired } = draw(scheduler, budgetUs, maxCalls, nowMs);
            for (const each of expired) {
              assert.ok(each.deadlineAtMs < nowMs);
              leave(each);
            }
            for (const each of due) {
              assert.ok(each.deadlineAtMs >= nowMs);
              // Nothing of its tenant and class came before it and still waits.
              for (const other of waiting.values()) {
                if (other.tenant === each.tenant && other.callClass === each.callClass) {
                  assert.ok(other.name >= each.name);
                }
              }
              leave(each);
            }
            assert.ok(due.length <= maxCalls);
            assert.ok(due.length <= 1 || cost(due) <= budgetUs, 'the budget holds');
            assert.ok(waiting.size === 0 || due.length > 0, 'no draw in vain while something waits');
          };

          for (const each of steps) {
            if (each.kind === 'offer') {
              const { tenant, callClass, costUs, livesMs } = each;
              const offered = call(tenant, costUs, { callClass, deadlineAtMs: nowMs + livesMs });
              const backlog = of(tenant);
              const free = bounds.totalCalls - waiting.size;
              const alone = backlog.length === waiting.size;
              const expected =
                free === 0
                  ? 'total_full'
                  : backlog.length >= (alone ? bounds.perTenantCalls : Math.min(bounds.perTenantCalls, free))
                    ? 'tenant_full'
                    : backlog.length > 0 && cost(backlog) + costUs > bounds.perTenantCostUs
                      ? 'tenant_cost_full'
                      : 'queued';
              const offer = scheduler.offer(offered);
              assert.equal(offer.outcome, expected);
              if (offer.outcome === 'queued') {
                tickets.push(offer.ticket);
                waiting.set(offered.name, offered);
              }
            } else if (each.kind === 'cancel') {
              const ticket = tickets[each.which % Math.max(1, tickets.length)];
              if (ticket === undefined) continue;
              const waits = waiting.has(ticket.call.name);
              assert.equal(scheduler.cancel(ticket), waits);
              if (waits) leave(ticket.call);
              assert.equal(scheduler.cancel(ticket), false);
            } else {
              nowMs += each.waitMs;
              drawOnce(each.budgetUs, each.maxCalls);
            }
            assert.equal(scheduler.waitingCalls, waiting.size);
            assert.equal(scheduler.waitingCostUs, cost(waiting.values()));
            for (const tenant of tenants) {
              const backlog = of(tenant);
              assert.equal(scheduler.tenantBacklog(tenant).calls, backlog.length);
              assert.equal(scheduler.tenantBacklog(tenant).costUs, cost(backlog));
              assert.ok(scheduler.workAheadUs(tenant) <= scheduler.waitingCostUs);
            }
            assert.equal(scheduler.activeTenants, tenants.filter((tenant) => of(tenant).length > 0).length);
          }
          while (waiting.size > 0) drawOnce(300, 64);
          assert.equal(scheduler.activeTenants, 0);
          assert.equal(left.size, tickets.length);
        },
      ),
      { numRuns: 400 },
    );
  });
});

describe('fairness', () => {
  const quantumUs = 300;

  /** Shares of work after each call that is drawn, while all of them have more to do. */
  function assertFair(
    weightOf: Readonly<Record<string, number>>,
    costs: Readonly<Record<string, number[]>>,
  ): void {
    const scheduler = new FairScheduler<Named>(roomy, (tenant) => weightOf[tenant] as number);
    const dearestUs = Math.max(...Object.values(costs).flat());
    const left = new Map(Object.entries(costs).map(([tenant, all]) => [tenant, all.length]));
    const served = new Map(Object.keys(costs).map((tenant) => [tenant, 0]));
    for (const [tenant, all] of Object.entries(costs)) {
      for (const costUs of all) queue(scheduler, call(tenant, costUs));
    }
    for (const { tenant, costUs } of drawAll(scheduler)) {
      const remaining = (left.get(tenant) as number) - 1;
      left.set(tenant, remaining);
      served.set(tenant, (served.get(tenant) as number) + costUs / (weightOf[tenant] as number));
      // From here on somebody has nothing more to do, and the others share what that one leaves.
      if (remaining === 0) return;
      const shares = [...served.values()];
      assert.ok(
        Math.max(...shares) - Math.min(...shares) <= quantumUs + dearestUs,
        `${JSON.stringify([...served])} with ${dearestUs}`,
      );
    }
  }

  test('tenants with enough to do differ by at most one quantum and one call, each divided by its weight', () => {
    const costs = fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 60, size: 'max' });
    const weight = fc.integer({ min: 1, max: 8 });
    fc.assert(
      fc.property(
        fc.record({ a: weight, b: weight, c: weight, d: weight }),
        fc.record({ a: costs, b: costs, c: costs, d: costs }),
        assertFair,
      ),
      { numRuns: 500 },
    );
  });

  test('dear calls do not buy more time than cheap ones', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    for (let n = 0; n < 100; n++) queue(scheduler, call('rsa', 3_800));
    for (let n = 0; n < 20_000; n++) queue(scheduler, call('ed25519', 20));
    const spent = { rsa: 0, ed25519: 0 };
    for (const { tenant, costUs } of drawAll(scheduler).slice(0, 5_000)) {
      spent[tenant as 'rsa'] += costUs;
    }
    assert.ok(Math.abs(spent.rsa - spent.ed25519) <= quantumUs + 3_800, JSON.stringify(spent));
  });

  test('a tenant of weight 3 gets three times the work', () => {
    const scheduler = new FairScheduler<Named>(roomy, (tenant) => (tenant === 'three' ? 3 : 1));
    for (let n = 0; n < 3_000; n++) {
      queue(scheduler, call('three', 100));
      queue(scheduler, call('one', 100));
    }
    const first = drawAll(scheduler).slice(0, 2_000);
    const three = first.filter(({ tenant }) => tenant === 'three').length;
    assert.ok(Math.abs(three - 1_500) <= 12, `${three} of 2,000`);
  });

  test('whoever comes waits for one round at most, whatever the others have queued', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 3_000 }),
        fc.nat(500),
        fc.integer({ min: 1, max: 3_000 }),
        (others, dearestUs, drawnBefore, ownUs) => {
          const scheduler = new FairScheduler<Named>(roomy);
          for (let tenant = 0; tenant < others; tenant++) {
            for (let n = 0; n < 30; n++) queue(scheduler, call(`t${tenant}`, 1 + ((n * 997) % dearestUs)));
          }
          draw(scheduler, Number.POSITIVE_INFINITY, Math.max(1, drawnBefore % scheduler.waitingCalls));
          const late = call('late', ownUs);
          queue(scheduler, late);
          const order = drawAll(scheduler);
          const ahead = order.slice(0, order.indexOf(late));
          const rounds = Math.ceil(ownUs / quantumUs);
          // In each round each of the others gets a quantum; what it could not use of earlier ones is less than a call.
          const boundUs = others * (rounds * quantumUs + dearestUs);
          assert.ok(ahead.reduce((sum, { costUs }) => sum + costUs, 0) <= boundUs);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('nobody starves: what keeps coming never keeps back what waits', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    const dear = call('patient', 100_000);
    queue(scheduler, dear);
    let drawn = 0;
    for (;;) {
      while (scheduler.waitingCalls < 50) queue(scheduler, call('flood', 10));
      const { due } = draw(scheduler, quantumUs);
      drawn += due.length;
      if (due.includes(dear)) break;
      assert.ok(drawn < 20_000, 'the dear call never came');
    }
    // 334 quanta for the dear call, and as many for the flood.
    assert.ok(drawn <= 334 * 30 + 60, `${drawn} calls before it`);
  });

  test('no bound keeps out what the service asks itself, and it has its turn like others', () => {
    const scheduler = new FairScheduler<Named>({
      perTenantCalls: 1,
      perTenantCostUs: 100,
      totalCalls: 2,
      quantumUs: 300,
    });
    queue(scheduler, call('a', 100));
    queue(scheduler, call('b', 100));
    assert.equal(scheduler.offer(call('own', 100)).outcome, 'total_full');
    const own = [1, 2].map(() => call('own', 100, { ownWork: true }));
    for (const each of own) queue(scheduler, each);
    assert.equal(scheduler.offer(call('a', 100)).outcome, 'total_full');
    assert.deepEqual(drawAll(scheduler).slice(2), own);
  });

  test('of those who come only what their turn pays for is drawn alone', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    const coming = () => {
      const due: Ticket<Named>[] = [];
      scheduler.draw(10_000, 64, 0, due, [], { comingOnly: true });
      return due.map((ticket) => ticket.call);
    };
    const flood = Array.from({ length: 40 }, () => call('flood', 100));
    for (const each of flood) queue(scheduler, each);
    assert.deepEqual(coming(), flood.slice(0, 3));
    assert.equal(scheduler.comes, false);
    assert.deepEqual(coming(), []);
    const cheap = call('cheap', 100);
    for (const each of [call('dear', 1_000), cheap]) queue(scheduler, each);
    assert.equal(scheduler.comes, true);
    assert.deepEqual(coming(), [cheap], 'one that cannot pay has to wait');
    assert.equal(scheduler.comes, false);
  });

  test('a tenant that comes has its first turn at once, and in a round no more than a quantum, in however many pieces', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    const flood = ['a', 'b'].flatMap((tenant) => Array.from({ length: 60 }, () => call(tenant, 100)));
    for (const each of flood) queue(scheduler, each);
    // Both have had their first turns, and b is in its second.
    assert.equal(draw(scheduler, 1_000).due.length, 10);
    const pieces = Array.from({ length: 4 }, () => call('small', 100));
    for (const piece of pieces.slice(0, 3)) {
      queue(scheduler, piece);
      assert.deepEqual(draw(scheduler, 100).due, [piece]);
    }
    const fourth = pieces[3] as Named;
    queue(scheduler, fourth);
    const rest = drawAll(scheduler);
    // The rest of the turn that was in hand, and a turn of the other.
    assert.equal(rest.indexOf(fourth), 5);
    // Several that come have theirs in the order in which they came.
    for (const each of flood) queue(scheduler, each);
    draw(scheduler, 700);
    const late = ['x', 'y', 'z'].map((tenant) => call(tenant, 200));
    for (const each of late) queue(scheduler, each);
    assert.deepEqual(drawAll(scheduler).slice(0, 3), late);
  });

  test('idling earns nothing', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    // Its turn leaves 299 of the quantum unused, again and again.
    for (let n = 0; n < 1_000; n++) {
      queue(scheduler, call('idler', 1));
      assert.equal(draw(scheduler, quantumUs).due.length, 1);
    }
    for (let n = 0; n < 100; n++) {
      queue(scheduler, call('idler', 100));
      queue(scheduler, call('busy', 100));
    }
    let lead = 0;
    for (const { tenant } of drawAll(scheduler).slice(0, 100)) {
      lead += tenant === 'idler' ? 100 : -100;
      assert.ok(Math.abs(lead) <= quantumUs + 100, `${lead}`);
    }
  });
});

describe('the classes of one tenant', () => {
  test('share its time evenly by cost', () => {
    const cost = fc.integer({ min: 1, max: 3_000 });
    const costs = fc.array(cost, { minLength: 1, maxLength: 50, size: 'max' });
    fc.assert(
      fc.property(fc.record({ sign: costs, verify: costs, manage: costs }), (all) => {
        const scheduler = new FairScheduler<Named>(roomy);
        const left = { sign: all.sign.length, verify: all.verify.length, manage: all.manage.length };
        const served = { sign: 0, verify: 0, manage: 0 };
        for (const callClass of callClasses) {
          for (const costUs of all[callClass]) queue(scheduler, call('t', costUs, { callClass }));
        }
        const dearestUs = Math.max(...Object.values(all).flat());
        for (const { callClass, costUs } of drawAll(scheduler)) {
          left[callClass] -= 1;
          served[callClass] += costUs;
          if (left[callClass] === 0) return;
          const shares = Object.values(served);
          assert.ok(Math.max(...shares) - Math.min(...shares) <= dearestUs);
        }
      }),
      { numRuns: 300 },
    );
  });

  test('have no claim on the time before they came', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    for (let n = 0; n < 1_000; n++) queue(scheduler, call('t', 100, { callClass: 'sign' }));
    draw(scheduler, Number.POSITIVE_INFINITY, 500);
    for (let n = 0; n < 400; n++) queue(scheduler, call('t', 100, { callClass: 'verify' }));
    const next = drawAll(scheduler).slice(0, 100);
    const verify = next.filter(({ callClass }) => callClass === 'verify').length;
    assert.ok(Math.abs(verify - 50) <= 2, `${verify} of 100`);
  });

  test('do not make a tenant larger: with three classes it has the share of one', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    for (let n = 0; n < 300; n++) {
      for (const callClass of callClasses) queue(scheduler, call('three', 100, { callClass }));
      queue(scheduler, call('one', 100));
    }
    const next = drawAll(scheduler).slice(0, 400);
    const one = next.filter(({ tenant }) => tenant === 'one').length;
    assert.ok(Math.abs(one - 200) <= 6, `${one} of 400`);
  });
});

describe('single rules of the scheduler', () => {
  test('a call dearer than budget, quantum and cost bound is served when it is alone', () => {
    const scheduler = new FairScheduler<Named>({ ...roomy, perTenantCostUs: 1_000 });
    const dear = call('t', 1_000_000);
    queue(scheduler, dear);
    assert.deepEqual(draw(scheduler, 300).due, [dear]);
  });

  test('a draw goes on with other tenants until the budget is spent', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    for (const tenant of ['a', 'b', 'c']) for (let n = 0; n < 10; n++) queue(scheduler, call(tenant, 100));
    const { due } = draw(scheduler, 900);
    assert.deepEqual(
      due.map(({ tenant }) => tenant),
      [...'aaabbbccc'],
    );
  });

  test('a call is due until its deadline and expired behind it', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    const punctual = call('t', 1, { deadlineAtMs: 10 });
    const late = call('t', 1, { deadlineAtMs: 9.999 });
    queue(scheduler, late);
    queue(scheduler, punctual);
    const { due, expired } = draw(scheduler, 300, 64, 10);
    assert.deepEqual([due, expired], [[punctual], [late]]);
  });

  test('expired calls cost their tenant nothing', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    for (let n = 0; n < 100; n++) queue(scheduler, call('t', 300, { deadlineAtMs: 1 }));
    const alive = call('t', 300);
    queue(scheduler, alive);
    queue(scheduler, call('other', 300));
    const { due, expired } = draw(scheduler, 300, 64, 2);
    assert.equal(expired.length, 100);
    assert.deepEqual(due, [alive]);
  });

  test('tenants that have nothing waiting are forgotten', () => {
    const scheduler = new FairScheduler<Named>(roomy);
    const tickets = Array.from({ length: 30_000 }, (_, n) => queue(scheduler, call(`t${n}`, 10)));
    assert.equal(scheduler.activeTenants, 30_000);
    for (const ticket of tickets.slice(0, 10_000)) assert.ok(scheduler.cancel(ticket));
    assert.equal(draw(scheduler, Number.POSITIVE_INFINITY, 10_000).due.length, 10_000);
    assert.equal(draw(scheduler, 0, 1, Number.POSITIVE_INFINITY).due.length, 1);
    drawAll(scheduler);
    assert.equal(scheduler.activeTenants, 0);
    assert.equal(scheduler.waitingCostUs, 0);
    assert.equal(scheduler.workAheadUs('t1'), 0);
    assert.deepEqual(draw(scheduler, 300).due, []);
  });
});
