import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { cancel, createCancellation } from '../../src/core/cancellation.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import { type Carrier, type JobEnd, Lane, type LaneCall, type LaneOptions } from '../../src/queue/lane.ts';

interface TestCall extends LaneCall<number> {
  readonly name: number;
  readonly outcomes: Result<number>[];
}

interface HeldJob {
  readonly calls: TestCall[];
  readonly ahead: boolean;
  end(answer?: Result<number>, end?: Partial<JobEnd>): Promise<void>;
}

/** Takes jobs, and ends each when the test says so. */
class HeldCarrier implements Carrier<TestCall> {
  readonly threads = 1;
  readonly overtakes = true;
  readonly slots: number;
  readonly jobs: HeldJob[] = [];
  readonly carried: TestCall[] = [];

  constructor(slots: number) {
    this.slots = slots;
  }

  get freeSlots(): number {
    return this.slots - this.jobs.length;
  }

  get idleThreads(): number {
    return this.jobs.length === 0 ? 1 : 0;
  }

  carry(calls: TestCall[], costUs: number, ahead: boolean): Promise<JobEnd> {
    const { promise, resolve } = Promise.withResolvers<JobEnd>();
    const job: HeldJob = {
      calls,
      ahead,
      end: async (answer, end) => {
        this.carried.push(...calls);
        for (const call of calls) call.settle(answer ?? ok(call.name));
        this.jobs.splice(this.jobs.indexOf(job), 1);
        resolve({ busyUs: costUs, idleUs: 0, lagMs: 0, ...end });
        await turn();
      },
    };
    this.jobs.push(job);
    return promise;
  }
}

const defaults: LaneOptions = {
  limits: { perTenantCalls: 100, perTenantCostUs: 1e9, totalCalls: 1_000, quantumUs: 300 },
  jobBudgetUs: 300,
  soloBudgetUs: 300,
  jobMaxCalls: 8,
  readyLeastUs: 1_000_000,
  readyMostUs: 1_000_000,
  queueTargetMs: 1_000_000,
  runHereUpToUs: 0,
};

function bench(slots = 1, options: Partial<LaneOptions> = {}, limits: Partial<LaneOptions['limits']> = {}) {
  const clock = { nowMs: 0, monotonicMs: () => clock.nowMs, utcMs: () => 0 };
  const carrier = new HeldCarrier(slots);
  const lane = new Lane<number, TestCall>(
    { ...defaults, ...options, limits: { ...defaults.limits, ...limits } },
    { carrier, clock },
  );
  let names = 0;
  const call = (more: Partial<TestCall> = {}): TestCall => {
    const outcomes: Result<number>[] = [];
    names += 1;
    return {
      name: names,
      tenant: 't',
      callClass: 'sign',
      costUs: 100,
      deadlineAtMs: 1_000,
      offeredAtMs: clock.nowMs,
      cancellation: createCancellation(),
      outcomes,
      settle: (outcome) => void outcomes.push(outcome),
      ...more,
    };
  };
  const offer = (more: Partial<TestCall> = {}): TestCall => {
    const offered = call(more);
    assert.deepEqual(lane.offer(offered), ok(undefined));
    return offered;
  };
  return { clock, carrier, lane, call, offer };
}

const codes = ({ outcomes }: TestCall) => outcomes.map((each) => (each.ok ? 'ok' : each.failure.code));

describe('a lane', () => {
  test('sends what one turn of the event loop brings as one job, and settles each call with its answer', async () => {
    const { carrier, lane, offer } = bench();
    const calls = [offer(), offer(), offer()];
    assert.equal(carrier.jobs.length, 0);
    await turn();
    assert.equal(carrier.jobs.length, 1);
    assert.deepEqual(carrier.jobs[0]?.calls, calls);
    await carrier.jobs[0]?.end();
    assert.deepEqual(
      calls.map(({ outcomes }) => outcomes),
      calls.map(({ name }) => [ok(name)]),
    );
    assert.equal(lane.waitingCalls, 0);
  });

  test('keeps to the budget and the number of calls of a job, and to the free slots of the carrier', async () => {
    const { carrier, lane, offer } = bench(2, { jobMaxCalls: 4 });
    for (let n = 0; n < 5; n++) offer({ costUs: 120 });
    await turn();
    assert.deepEqual(
      carrier.jobs.map(({ calls }) => calls.length),
      [2, 2],
    );
    assert.equal(lane.waitingCalls, 1);
    for (let n = 0; n < 9; n++) offer({ costUs: 10 });
    await turn();
    assert.equal(carrier.jobs.length, 2);
    assert.equal(lane.waitingCalls, 10);
    await carrier.jobs[0]?.end();
    assert.equal(carrier.jobs.at(-1)?.calls.length, 4);
    assert.equal(lane.waitingCalls, 6);
  });

  test('refuses over a bound with the time after which a retry is worth while, and never settles what it refused', async () => {
    const { carrier, lane, call, offer } = bench(1, {}, { perTenantCalls: 3, totalCalls: 5 });
    offer();
    await turn();
    for (let n = 0; n < 3; n++) offer({ costUs: 50_000 });
    const refused = call();
    const answer = lane.offer(refused);
    assert.ok(!answer.ok);
    assert.equal(answer.failure.code, 'Backpressure');
    // 150 ms of work wait for one thread.
    assert.ok((answer.failure.retryAfterMs as number) >= 100, `${answer.failure.retryAfterMs}`);
    assert.ok((answer.failure.retryAfterMs as number) <= 400, `${answer.failure.retryAfterMs}`);
    // Another tenant has its own queue, until all are full together.
    offer({ tenant: 'u' });
    offer({ tenant: 'v' });
    const sixth = call({ tenant: 'w' });
    assert.equal(lane.offer(sixth).ok, false);
    while (carrier.jobs.length > 0) await carrier.jobs[0]?.end();
    assert.deepEqual([refused.outcomes, sixth.outcomes], [[], []]);
    assert.equal(carrier.carried.length, 6);
  });

  test('says beforehand whether a call could be served within its deadline', async () => {
    const { lane, offer } = bench(1, {}, { perTenantCalls: 3 });
    assert.equal(lane.refusal('t', 1), undefined);
    offer({ costUs: 20_000 });
    await turn();
    for (let n = 0; n < 2; n++) offer({ costUs: 20_000 });
    assert.equal(lane.refusal('t', 1_000), undefined);
    const tooLong = lane.refusal('t', 10);
    assert.equal(tooLong?.failure.code, 'Backpressure');
    assert.ok((tooLong?.failure.retryAfterMs as number) > 0);
    offer({ costUs: 20_000 });
    assert.equal(lane.refusal('t', 1_000)?.failure.code, 'Backpressure');
    assert.equal(lane.refusal('u', 1_000), undefined);
  });

  test('refuses what would end after its deadline, unless it need not wait: then the price may be wrong', async () => {
    const { carrier, lane, call, offer } = bench();
    const dear = { costUs: 5_000, deadlineAtMs: 4 };
    const tried = offer(dear);
    await turn();
    assert.deepEqual(carrier.jobs[0]?.calls, [tried]);
    await carrier.jobs[0]?.end();
    offer({ costUs: 1_000 });
    await turn();
    const refused = lane.offer(call(dear));
    assert.ok(!refused.ok);
    assert.equal(refused.failure.code, 'Backpressure');
    offer({ costUs: 2_000, deadlineAtMs: 4 });
  });

  test('does not carry, behind another job, what could not end before its deadline any more', async () => {
    const { clock, carrier, offer } = bench(2);
    const first = offer({ costUs: 2_000 });
    await turn();
    const late = offer({ costUs: 2_000, deadlineAtMs: 5 });
    const patient = offer({ costUs: 2_000, deadlineAtMs: 50 });
    clock.nowMs = 2;
    await turn();
    assert.deepEqual(codes(late), ['Timeout']);
    assert.deepEqual(
      carrier.jobs.map(({ calls }) => calls),
      [[first], [patient]],
    );
  });

  test('answers Timeout to what waited beyond its deadline, and does not carry it', async () => {
    const { clock, carrier, offer } = bench();
    offer();
    await turn();
    const late = offer({ deadlineAtMs: 5 });
    const patient = offer({ deadlineAtMs: 50 });
    clock.nowMs = 6;
    await carrier.jobs[0]?.end();
    assert.deepEqual(codes(late), ['Timeout']);
    assert.deepEqual(carrier.jobs[0]?.calls, [patient]);
    await carrier.jobs[0]?.end();
    assert.deepEqual(codes(patient), ['ok']);
  });

  test('drops what a caller who has gone was waiting for, and lets finish what is under way', async () => {
    const { carrier, lane, call, offer } = bench();
    const underWay = offer();
    await turn();
    const waiting = offer();
    cancel(underWay.cancellation);
    cancel(waiting.cancellation);
    assert.deepEqual(codes(waiting), ['Timeout']);
    assert.deepEqual(underWay.outcomes, []);
    assert.equal(lane.waitingCalls, 0);
    await carrier.jobs[0]?.end();
    assert.deepEqual(codes(underWay), ['ok']);
    assert.equal(carrier.carried.length, 1);
    // Gone before it was offered: refused, and never settled.
    const gone = call();
    cancel(gone.cancellation);
    assert.equal(lane.offer(gone).ok, false);
    assert.deepEqual(gone.outcomes, []);
  });

  test('drops all items of a batch when its caller goes', async () => {
    const { carrier, lane, offer } = bench(1, {}, { perTenantCalls: 5_000, totalCalls: 5_000 });
    offer();
    await turn();
    const cancellation = createCancellation();
    const items = Array.from({ length: 4_096 }, () => offer({ cancellation }));
    assert.equal(lane.waitingCalls, 4_096);
    cancel(cancellation);
    assert.equal(lane.waitingCalls, 0);
    for (const item of items) assert.deepEqual(codes(item), ['Timeout']);
    await carrier.jobs[0]?.end();
    assert.equal(carrier.carried.length, 1);
  });

  test('goes on after a job that failed', async () => {
    const { carrier, offer } = bench();
    const unlucky = [offer(), offer()];
    await turn();
    const next = offer();
    await carrier.jobs[0]?.end(refuse('Internal'));
    for (const call of unlucky) assert.deepEqual(codes(call), ['Internal']);
    await carrier.jobs[0]?.end();
    assert.deepEqual(codes(next), ['ok']);
  });

  test('is drained when nothing waits and nothing is under way, not before', async () => {
    const { carrier, lane, offer } = bench();
    await lane.drained();
    let drained = 0;
    offer();
    const waiters = [lane.drained(), lane.drained()].map((each) => each.then(() => drained++));
    await turn();
    for (let n = 0; n < 3; n++) offer({ costUs: 300 });
    while (carrier.jobs.length > 0) {
      assert.equal(drained, 0);
      await carrier.jobs[0]?.end();
    }
    await Promise.all(waiters);
    assert.equal(drained, 2);
  });

  test('takes a call that is offered while another one is settled', async () => {
    const { carrier, lane, call, offer } = bench();
    const second = call();
    offer({ settle: () => assert.ok(lane.offer(second).ok) });
    await turn();
    await carrier.jobs[0]?.end();
    await turn();
    await carrier.jobs[0]?.end();
    assert.deepEqual(codes(second), ['ok']);
    await lane.drained();
  });

  test('does on this thread what costs less than a message, and only as long as no more waits', async () => {
    const { carrier, lane, offer } = bench(1, { runHereUpToUs: 30 });
    const here: TestCall[] = [];
    Object.assign(carrier, {
      runHere: (calls: TestCall[]) => {
        here.push(...calls);
        for (const call of calls) call.settle(ok(call.name));
      },
    });
    const little = [offer({ costUs: 10 }), offer({ costUs: 20, tenant: 'u' })];
    await turn();
    assert.deepEqual(here, little);
    for (const call of little) assert.deepEqual(codes(call), ['ok']);
    const much = [offer({ costUs: 20 }), offer({ costUs: 20 })];
    await turn();
    assert.equal(here.length, 2);
    assert.deepEqual(carrier.jobs[0]?.calls, much);
    await carrier.jobs[0]?.end();
    await lane.drained();
  });

  test('keeps so much lying ready at a worker as it does until its results are noticed', async () => {
    const { carrier, clock, offer } = bench(16, { readyLeastUs: 0, readyMostUs: 2_000 });
    for (let n = 0; n < 100; n++) offer();
    await turn();
    assert.equal(carrier.jobs.length, 1, 'where results are noticed at once, nothing is to lie ready');
    clock.nowMs = 1;
    await carrier.jobs[0]?.end(undefined, { lagMs: 1 });
    // A job in hand, and behind it half as much again as what was done meanwhile.
    assert.equal(carrier.jobs.length, 6);
    clock.nowMs = 2;
    await carrier.jobs[0]?.end(undefined, { lagMs: 50 });
    assert.equal(carrier.jobs.length, 8, 'but no more than is allowed to');
    clock.nowMs = 1_000;
    for (let n = 0; n < 7; n++) await carrier.jobs[0]?.end();
    assert.ok(carrier.jobs.length <= 2, 'a pause is forgotten');
  });

  test('lets a tenant that comes overtake what lies ready beyond a job of each worker, with a quantum at most', async () => {
    const { carrier, lane, offer } = bench(16, { readyLeastUs: 1_500, readyMostUs: 1_500 });
    for (let n = 0; n < 60; n++) offer();
    await turn();
    const ready = carrier.jobs.length;
    assert.ok(ready >= 5);
    const victims = Array.from({ length: 5 }, () => offer({ tenant: 'u' }));
    assert.ok(
      lane.predictedWaitMs('u') < lane.predictedWaitMs('t'),
      'it does not wait for what it overtakes',
    );
    await turn();
    assert.equal(carrier.jobs.length, ready + 1);
    const ahead = carrier.jobs.at(-1) as HeldJob;
    assert.equal(ahead.ahead, true);
    assert.deepEqual(ahead.calls, victims.slice(0, 3));
    // With its turn over it waits for the next one, and overtakes then, as none of its calls is under way any more.
    offer({ tenant: 'u' });
    await turn();
    assert.equal(carrier.jobs.filter((job) => job.ahead).length, 1);
    await ahead.end();
    for (let n = 0; n < 3; n++) await carrier.jobs[0]?.end();
    assert.deepEqual(carrier.jobs.find((job) => job.ahead)?.calls.slice(0, 2), victims.slice(3));
    while (carrier.jobs.length > 0) await carrier.jobs[0]?.end();
    for (const call of victims) assert.deepEqual(codes(call), ['ok']);
    await lane.drained();
  });

  test('where no more than a job of each worker is under way nothing is overtaken', async () => {
    const { carrier, offer } = bench(16, { readyLeastUs: 0, readyMostUs: 0 });
    for (let n = 0; n < 20; n++) offer();
    await turn();
    assert.equal(carrier.jobs.length, 1);
    const victim = offer({ tenant: 'u' });
    await turn();
    assert.equal(carrier.jobs.length, 1);
    await carrier.jobs[0]?.end();
    assert.equal(carrier.jobs[0]?.ahead, false);
    assert.equal(carrier.jobs[0]?.calls[0], victim);
  });

  describe('where calls go on to wait', () => {
    const held = { readyLeastUs: 150, readyMostUs: 150, queueTargetMs: 5 };
    /** Calls of 100 us, one for each millisecond that passes, so that more and more wait; what is refused is counted. */
    const flood = async (
      { clock, carrier, lane, call }: ReturnType<typeof bench>,
      forMs: number,
      perMs: number,
      tenant = 't',
    ) => {
      let refused = 0;
      for (let ms = 0; ms < forMs; ms++) {
        clock.nowMs++;
        for (let n = 0; n < perMs; n++) {
          const offered = lane.offer(call({ tenant, deadlineAtMs: clock.nowMs + 250 }));
          if (offered.ok) continue;
          refused++;
          assert.equal(offered.failure.standing, true);
          assert.ok((offered.failure.retryAfterMs as number) <= 50, `${offered.failure.retryAfterMs}`);
        }
        await turn();
        // A worker does ten of them in a millisecond.
        for (let doneUs = 0; doneUs < 1_000 && carrier.jobs.length > 0; ) {
          doneUs += (carrier.jobs[0] as HeldJob).calls.length * 100;
          await carrier.jobs[0]?.end();
        }
      }
      return refused;
    };
    const roomy = { perTenantCalls: 5_000, totalCalls: 8_000 };

    test('a burst may use its deadline, and after 100 ms no more are let in than are done within the target', async () => {
      const tried = bench(16, held, roomy);
      assert.equal(await flood(tried, 100, 14), 0);
      assert.ok(tried.lane.predictedWaitMs('t') > 15);
      assert.ok((await flood(tried, 100, 14)) > 200);
      await flood(tried, 100, 14);
      const waitMs = tried.lane.predictedWaitMs('t');
      assert.ok(waitMs > 3 && waitMs < 7, `${waitMs}`);
    });

    test('who keeps to its share is not held to it, whatever others wait', async () => {
      const tried = bench(16, held, roomy);
      await flood(tried, 250, 14);
      for (let n = 0; n < 40; n++) {
        tried.offer({ tenant: 'u', deadlineAtMs: tried.clock.nowMs + 250 });
        assert.ok((await flood(tried, 1, 14)) <= 14);
      }
      assert.equal(tried.lane.refusal('u', 250), undefined);
    });

    test('when nobody was refused for a second the next burst is one again', async () => {
      const tried = bench(16, held, roomy);
      await flood(tried, 250, 14);
      await flood(tried, 1_050, 5);
      assert.equal(await flood(tried, 50, 20), 0);
    });

    test('a tenant that empties its queue again and again may fill it', async () => {
      const tried = bench(16, held, roomy);
      for (let n = 0; n < 20; n++) {
        assert.equal(await flood(tried, 1, 200), 0);
        assert.equal(await flood(tried, 30, 0), 0);
      }
    });
  });

  test('settles every call exactly once, whatever is offered, cancelled, late or done in which order', async () => {
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('offer' as const),
        tenant: fc.constantFrom('a', 'b', 'c'),
        costUs: fc.integer({ min: 1, max: 900 }),
        livesMs: fc.integer({ min: 0, max: 20 }),
        sharing: fc.boolean(),
      }),
      fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(99) }),
      fc.record({ kind: fc.constant('end' as const), which: fc.nat(9), fails: fc.boolean() }),
      fc.record({ kind: fc.constant('time' as const), ms: fc.nat(10) }),
      fc.record({ kind: fc.constant('turn' as const) }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(step, { maxLength: 60, size: 'max' }),
        async (slots, steps) => {
          const { clock, carrier, lane, call } = bench(
            slots,
            { soloBudgetUs: 3_000, queueTargetMs: 1, readyLeastUs: 1_000 },
            { perTenantCalls: 6, totalCalls: 12 },
          );
          const taken: TestCall[] = [];
          const refused: TestCall[] = [];
          for (const each of steps) {
            if (each.kind === 'offer') {
              const { tenant, costUs, livesMs, sharing } = each;
              const before = taken.at(-1);
              const offered = call({
                ...{ tenant, costUs, deadlineAtMs: clock.nowMs + livesMs },
                ...(sharing && before !== undefined ? { cancellation: before.cancellation } : undefined),
              });
              (lane.offer(offered).ok ? taken : refused).push(offered);
            } else if (each.kind === 'cancel') {
              const some = taken[each.which % Math.max(1, taken.length)];
              if (some !== undefined) cancel(some.cancellation);
            } else if (each.kind === 'end') {
              const job = carrier.jobs[each.which % Math.max(1, carrier.jobs.length)];
              await job?.end(each.fails ? refuse('Internal') : undefined);
            } else if (each.kind === 'time') clock.nowMs += each.ms;
            else await turn();
            assert.ok(carrier.jobs.length <= slots);
            assert.ok(lane.waitingCalls <= 12);
          }
          const drained = lane.drained();
          await turn();
          while (carrier.jobs.length > 0) await carrier.jobs[0]?.end();
          await drained;
          assert.equal(lane.waitingCalls, 0);
          for (const each of taken) {
            assert.equal(each.outcomes.length, 1);
            const carried = carrier.carried.includes(each);
            assert.equal(codes(each)[0] === 'Timeout', !carried);
          }
          for (const each of refused) assert.equal(each.outcomes.length, 0);
          assert.equal(new Set(carrier.carried).size, carrier.carried.length);
        },
      ),
      { numRuns: 150 },
    );
  });
});
