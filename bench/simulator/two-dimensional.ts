import { type Call, FairScheduler, type Ticket } from '../../src/queue/scheduler.ts';
import { EventQueue } from './event-queue.ts';
import { Random } from './random.ts';
import { type Quantiles, round, Times } from './statistics.ts';
import type { Work } from './workload.ts';

/**
 * Two-Dimensional Fair Queuing (Mace, Bodik, Musuvathi, Fonseca, Varadarajan, SIGCOMM 2016) beside the service's scheduler: worst-
 * case fair queueing (WF2Q) for many threads, in which a call is eligible the earlier the higher the number of its thread is.
 * So small calls keep to some threads and large ones to others. Costs are known here, as they are to the service.
 */

export interface MixedTenant {
  readonly name: string;
  readonly costUs: number;
  /** Calls a second (Poisson); 0: always has calls waiting. */
  readonly ratePerSecond: number;
}

export interface MixedOptions {
  readonly seed: number;
  readonly cores: number;
  readonly tenants: readonly MixedTenant[];
  readonly durationMs: number;
  readonly quantumUs: number;
  /** What a job costs its worker beside its calls. */
  readonly hopUs: number;
}

export interface MixedOutcome {
  /** From a call's arrival until a worker begins its job, by the name of its tenants' kind. */
  readonly waitMs: Readonly<Record<string, Quantiles>>;
  readonly servedPerSecond: Readonly<Record<string, number>>;
  /** Of the tenants that always wait: the least service over the largest. */
  readonly leastShare: number;
}

interface MixedCall extends Call {
  readonly arrivedUs: number;
  readonly index: number;
}

interface Policy {
  readonly waiting: number;
  offer(call: MixedCall): void;
  /** The next job of this worker; there is at least one call waiting. */
  next(worker: number, nowUs: number): readonly MixedCall[];
}

function deficitRoundRobin(quantumUs: number): Policy {
  const unbounded = Number.POSITIVE_INFINITY;
  const scheduler = new FairScheduler<MixedCall>({
    ...{ perTenantCalls: unbounded, perTenantCostUs: unbounded, totalCalls: unbounded },
    quantumUs,
  });
  return {
    get waiting() {
      return scheduler.waitingCalls;
    },
    offer: (call) => void scheduler.offer(call),
    next() {
      const due: Ticket<MixedCall>[] = [];
      scheduler.draw(quantumUs, 64, 0, due, []);
      return due.map(({ call }) => call);
    },
  };
}

interface Flow {
  readonly calls: MixedCall[];
  startTag: number;
}

function twoDimensional(cores: number, tenants: number, jobBudgetUs: number): Policy {
  const flows: Flow[] = Array.from({ length: tenants }, () => ({ calls: [], startTag: 0 }));
  const active = new Set<Flow>();
  let waiting = 0;
  let virtualUs = 0;
  let atUs = 0;
  const advance = (nowUs: number) => {
    if (active.size > 0) virtualUs += ((nowUs - atUs) * cores) / active.size;
    atUs = nowUs;
  };
  const best = (worker: number): Flow => {
    let best: Flow | undefined;
    let bestTag = Number.POSITIVE_INFINITY;
    let eligible = false;
    for (const flow of active) {
      const { costUs } = flow.calls[0] as MixedCall;
      const fits = flow.startTag - (worker / cores) * costUs <= virtualUs;
      const finishTag = flow.startTag + costUs;
      // A flow that is eligible comes first; where none is, no worker idles all the same.
      if (eligible && !fits) continue;
      if (fits === eligible && finishTag >= bestTag) continue;
      best = flow;
      bestTag = finishTag;
      eligible = fits;
    }
    return best as Flow;
  };
  return {
    get waiting() {
      return waiting;
    },
    offer(call) {
      advance(call.arrivedUs);
      const flow = flows[call.index] as Flow;
      if (flow.calls.length === 0) flow.startTag = Math.max(flow.startTag, virtualUs);
      flow.calls.push(call);
      active.add(flow);
      waiting++;
    },
    next(worker, nowUs) {
      advance(nowUs);
      const job: MixedCall[] = [];
      let jobUs = 0;
      // The paper's workers take one call at a time; a message for each call of 3 us would say nothing of the order.
      while (active.size > 0) {
        const flow = best(worker);
        const call = flow.calls[0] as MixedCall;
        if (jobUs > 0 && jobUs + call.costUs > jobBudgetUs) break;
        job.push(call);
        jobUs += call.costUs;
        flow.calls.shift();
        flow.startTag += call.costUs;
        if (flow.calls.length === 0) active.delete(flow);
        waiting--;
      }
      return job;
    },
  };
}

export type PolicyName = 'deficit round robin' | '2DFQ';

export function simulateMixed(options: MixedOptions, name: PolicyName): MixedOutcome {
  const { seed, cores, tenants, durationMs, quantumUs, hopUs } = options;
  const policy =
    name === '2DFQ' ? twoDimensional(cores, tenants.length, quantumUs) : deficitRoundRobin(quantumUs);
  const events = new EventQueue();
  const randoms = tenants.map((_, index) => Random.seeded(seed, index));
  const waits = new Map<string, Times>();
  const served = tenants.map(() => 0);
  const idle = Array.from({ length: cores }, (_, worker) => cores - 1 - worker);
  const endUs = durationMs * 1000;
  const offer = (index: number, arrivedUs: number) => {
    const { costUs } = tenants[index] as MixedTenant;
    const deadlineAtMs = Number.POSITIVE_INFINITY;
    policy.offer({ tenant: String(index), callClass: 'sign', costUs, deadlineAtMs, arrivedUs, index });
  };
  const nextArrival = (index: number, nowUs: number) => {
    const { ratePerSecond } = tenants[index] as MixedTenant;
    const gapUs = (randoms[index] as Random).exponential(1e6 / ratePerSecond);
    events.add(nowUs + gapUs, index);
  };
  for (const [index, { ratePerSecond }] of tenants.entries()) {
    if (ratePerSecond > 0) nextArrival(index, 0);
    else for (let n = 0; n < cores; n++) offer(index, 0);
  }
  const begin = (worker: number, nowUs: number) => {
    let workUs = hopUs;
    for (const { index, costUs, arrivedUs } of policy.next(worker, nowUs)) {
      const { name: kind, ratePerSecond } = tenants[index] as MixedTenant;
      if (!waits.has(kind)) waits.set(kind, new Times());
      waits.get(kind)?.recordUs(nowUs - arrivedUs);
      served[index] = (served[index] as number) + costUs;
      // Real times differ from prices, or workers would end in step for ever.
      workUs += costUs * (randoms[index] as Random).logNormal(0.1);
      if (ratePerSecond === 0) offer(index, nowUs);
    }
    events.add(nowUs + workUs, tenants.length + worker);
  };
  for (let nowUs: number | undefined = 0; nowUs !== undefined && nowUs < endUs; nowUs = events.nextTime) {
    if (events.size > 0 && events.nextTime === nowUs) {
      const event = events.take();
      if (event >= tenants.length) idle.push(event - tenants.length);
      else {
        offer(event, nowUs);
        nextArrival(event, nowUs);
      }
    }
    while (idle.length > 0 && policy.waiting > 0) begin(idle.pop() as number, nowUs);
  }
  const always = served.filter((_, index) => tenants[index]?.ratePerSecond === 0);
  const sums: Record<string, number> = {};
  for (const [index, costUs] of served.entries()) {
    const { name: kind, costUs: each } = tenants[index] as MixedTenant;
    sums[kind] = (sums[kind] ?? 0) + (costUs / each / durationMs) * 1000;
  }
  return {
    waitMs: Object.fromEntries([...waits].map(([kind, times]) => [kind, times.quantiles()])),
    servedPerSecond: Object.fromEntries(Object.entries(sums).map(([kind, sum]) => [kind, Math.round(sum)])),
    leastShare: always.length === 0 ? 1 : round(Math.min(...always) / Math.max(...always), 4),
  };
}

/** Tenants that always have calls of `work` waiting, beside tenants that ask for an HMAC now and then. */
export function mixedTenants(
  work: Work,
  always: number,
  small: number,
  smallPerSecond: number,
): MixedTenant[] {
  const of = (name: string, count: number, costUs: number, ratePerSecond: number) =>
    Array.from({ length: count }, () => ({ name, costUs, ratePerSecond }));
  return [...of('dear', always, work.costUs, 0), ...of('hmac', small, hmacUs, smallPerSecond)];
}

/** As in algorithms/registry.ts. */
const hmacUs = 3;
