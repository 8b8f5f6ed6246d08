import assert from 'node:assert/strict';
import test, { describe } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { cancel, createCancellation } from '../../src/core/cancellation.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import {
  type CarriedJob,
  type Carrier,
  Lane,
  type LaneCall,
  type LaneOptions,
} from '../../src/queue/lane.ts';

interface TestCall extends LaneCall<number> {
  readonly name: number;
  readonly outcomes: Result<number>[];
}

interface HeldJob {
  readonly calls: TestCall[];
  readonly interruptible: boolean;
  /** How often the lane has asked for it. */
  interrupts: number;
  end(answer?: Result<number>): Promise<void>;
  /** Ends after so many of its calls, as an interrupted job does. */
  endAfter(count: number): Promise<void>;
}

/** Takes jobs, and ends each when the test says so. */
class HeldCarrier implements Carrier<TestCall> {
  readonly threads = 1;
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

  carry(calls: TestCall[], interruptible: boolean): CarriedJob {
    const { promise, resolve } = Promise.withResolvers<number>();
    const end = async (done: number, answer?: Result<number>) => {
      this.carried.push(...calls.slice(0, done));
      for (const call of calls.slice(0, done)) call.settle(answer ?? ok(call.name));
      this.jobs.splice(this.jobs.indexOf(job), 1);
      resolve(done);
      await turn();
    };
    const job: HeldJob = {
      calls,
      interruptible,
      interrupts: 0,
      end: (answer) => end(calls.length, answer),
      endAfter: (count) => end(count),
    };
    this.jobs.push(job);
    return { done: promise, interrupt: () => void job.interrupts++ };
  }
}

const defaults: LaneOptions = {
  limits: { perTenantCalls: 100, perTenantCostUs: 1e9, totalCalls: 1_000, quantumUs: 300 },
  jobBudgetUs: 300,
  soloBudgetUs: 300,
  jobMaxCalls: 8,
  followUpBelowUs: 1_000_000,
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

  test('interrupts the long jobs of a tenant that was alone when another comes, which is served next', async () => {
    const { carrier, lane, offer } = bench(2, { soloBudgetUs: 500, followUpBelowUs: 0 });
    const flood = Array.from({ length: 12 }, () => offer());
    await turn();
    assert.deepEqual(
      carrier.jobs.map(({ calls, interruptible }) => [calls.length, interruptible]),
      [
        [5, true],
        [5, true],
      ],
    );
    // More of the same tenant is no reason.
    flood.push(offer());
    await turn();
    assert.equal(carrier.jobs[0]?.interrupts, 0);

    const gone = flood[2] as TestCall;
    cancel(gone.cancellation);
    const victim = offer({ tenant: 'u' });
    assert.ok(
      lane.predictedWaitMs('u') < lane.predictedWaitMs('t'),
      'it does not wait for what it interrupts',
    );
    await turn();
    const [first, second] = carrier.jobs;
    assert.deepEqual([first?.interrupts, second?.interrupts], [1, 0]);
    await first?.endAfter(1);
    await second?.endAfter(0);
    assert.deepEqual(codes(gone), ['Timeout'], 'its caller has gone, and its key was not used');
    assert.equal(carrier.jobs[0]?.interruptible, false);
    assert.equal(carrier.jobs[0]?.calls[0], victim);
    while (carrier.jobs.length > 0) await carrier.jobs[0]?.end();
    for (const call of [victim, ...flood]) if (call !== gone) assert.deepEqual(codes(call), ['ok']);
    const order = carrier.carried.filter(({ tenant }) => tenant === 't');
    assert.deepEqual(
      order,
      flood.filter((call) => call !== gone),
    );
    await lane.drained();
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
      fc.record({ kind: fc.constant('endAfter' as const), which: fc.nat(9), count: fc.nat(4) }),
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
            { soloBudgetUs: 3_000 },
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
            } else if (each.kind === 'endAfter') {
              const asked = carrier.jobs.filter(({ interrupts }) => interrupts > 0);
              const job = asked[each.which % Math.max(1, asked.length)];
              await job?.endAfter(Math.min(each.count, job.calls.length));
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
