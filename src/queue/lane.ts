import type { Cancellation, Held } from '../core/cancellation.ts';
import type { Clock } from '../core/clock.ts';
import { type Failure, failure } from '../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import { createDrainRate, type DrainRate } from './drain-rate.ts';
import type { QueueOutlook } from './outlook.ts';
import { createTargetStretch } from './queue-target.ts';
import { createReadyWork, type ReadyWork } from './ready-work.ts';
import { type Call, FairScheduler, type Offer, type SchedulerLimits, type Ticket } from './scheduler.ts';
import { StandingQueues } from './standing-queue.ts';
import { UnderWay } from './under-way.ts';

/** A call on its way to workers of one kind. `settle` is called exactly once, with the answer or with the refusal. */
export interface LaneCall<Answer> extends Call {
  readonly cancellation: Cancellation;
  /** The time of the offer, on the monotonic clock. */
  readonly offeredAtMs: number;
  settle(outcome: Result<Answer>): void;
}

/** The course of a job, where the carrier knows it. */
export interface JobEnd {
  /** The worker's time for it, in microseconds. */
  readonly busyUs: number;
  /** Before it, the worker had nothing to do for so long. */
  readonly idleUs: number;
  /** Since its end, until the main thread came to it. */
  readonly lagMs: number;
}

/** Takes calls to workers. */
export interface Carrier<C> {
  /** The number of jobs that it still takes now. */
  readonly freeSlots: number;
  /** Workers that have no job; the next job goes to one of them. */
  readonly idleThreads: number;
  /** Workers that serve this lane, for the prediction of waits. */
  readonly threads: number;
  /** True if a job can overtake those that lie ready at its worker. */
  readonly overtakes: boolean;
  /**
   * One job, of so much cost. Settles every call; resolves when the job's slot is free again, and never rejects. `ahead`: it
   * overtakes.
   */
  carry(calls: C[], costUs: number, ahead: boolean): Promise<JobEnd | undefined>;
  /** Does the calls at once, on this thread, and settles every one. Absent where that is never right. */
  runHere?(calls: C[]): void;
}

/** Told what happens in a lane; for histograms. Called for each job and each call, so it has to be quick. */
export interface LaneObserver {
  /** A call was done, after it had waited so long to be sent. */
  waited(tenant: string, costUs: number, waitMs: number): void;
  /** A job came back: how many of its calls were done, the time since it was sent, and what waited when it was. */
  served(calls: number, serviceMs: number, waitingCalls: number): void;
}

export interface LaneOptions {
  readonly limits: SchedulerLimits;
  /** Cost of one job, in microseconds: long enough to pay for the thread hop, short enough to bound the wait behind it. */
  readonly jobBudgetUs: number;
  /** The same while only one tenant has calls waiting: whoever comes next overtakes it, so the thread hop may cost next to nothing. */
  readonly soloBudgetUs: number;
  readonly jobMaxCalls: number;
  /**
   * A worker is given further jobs while it has less than this under way, in microseconds: so it need not wait for the main
   * thread between two of them. More where that takes longer (ready-work.ts), up to `readyMostUs`.
   */
  readonly readyLeastUs: number;
  readonly readyMostUs: number;
  /**
   * So long may a tenant's calls go on to wait for a worker, in milliseconds, when they have waited longer for a while
   * (standing-queue.ts); or as long as two jobs take, or as what lies ready.
   */
  readonly queueTargetMs: number;
  /**
   * This thread does all that waits by itself if it costs no more than this, in microseconds, and the carrier can: a message to
   * a worker and back would cost it more.
   */
  readonly runHereUpToUs: number;
}

export interface LaneParts<C> {
  readonly carrier: Carrier<C>;
  readonly clock: Clock;
  readonly weightOf?: (tenant: string) => number;
  readonly observer?: LaneObserver;
}

/** A call in a lane, as its caller's cancellation knows it. */
class HeldCall<C extends LaneCall<never>> implements Held {
  readonly #lane: Pick<Lane<never, C>, 'abandon'>;
  readonly #ticket: Ticket<C>;
  /** The items of a batch have one caller, and all of them go with it. */
  readonly #others: Held | undefined;

  constructor(lane: Pick<Lane<never, C>, 'abandon'>, ticket: Ticket<C>, others: Held | undefined) {
    this.#lane = lane;
    this.#ticket = ticket;
    this.#others = others;
  }

  abandon(): void {
    this.#others?.abandon();
    this.#lane.abandon(this.#ticket);
  }
}

/** Waiting calls, the fair scheduler, and the carrier that is given work only when it can take it. */
export class Lane<Answer, C extends LaneCall<Answer>> implements QueueOutlook {
  readonly #options: LaneOptions;
  readonly #parts: LaneParts<C>;
  readonly #scheduler: FairScheduler<C>;
  readonly #drainRate: DrainRate;
  readonly #ready: ReadyWork;
  readonly #standing = new StandingQueues();
  readonly #targetStretch = createTargetStretch();
  readonly #underWay: UnderWay;
  #jobsUnderWay = 0;
  #pumping = false;
  /** Nothing waited any more when jobs were last sent. */
  #exhausted = true;
  #whenIdle: (() => void)[] = [];

  constructor(options: LaneOptions, parts: LaneParts<C>) {
    this.#options = options;
    this.#parts = parts;
    this.#scheduler = new FairScheduler(options.limits, parts.weightOf);
    this.#drainRate = createDrainRate();
    this.#ready = createReadyWork(options.readyLeastUs, options.readyMostUs);
    this.#underWay = new UnderWay(parts.weightOf);
  }

  get waitingCalls(): number {
    return this.#scheduler.waitingCalls;
  }

  get waitingCostUs(): number {
    return this.#scheduler.waitingCostUs;
  }

  get activeTenants(): number {
    return this.#scheduler.activeTenants;
  }

  /** The wait for a worker, in milliseconds, of a call that this tenant offers now, by costs and rate as measured. */
  predictedWaitMs(tenant: string): number {
    const aheadUs = this.#underWay.has(tenant) ? this.#underWay.costUs : this.#notOvertakenUs;
    return this.#takesMs(this.#scheduler.workAheadUs(tenant) + aheadUs);
  }

  /** Work under way that a tenant without any waits for: a round, as what lies ready beyond that is overtaken. */
  get #notOvertakenUs(): number {
    const { costUs } = this.#underWay;
    return this.#parts.carrier.overtakes ? Math.min(costUs, this.#roundUs) : costUs;
  }

  /** True if every worker has a job. */
  get #mustWait(): boolean {
    return this.#parts.carrier.idleThreads === 0;
  }

  /** The time that all workers together take for it, at the rate of late. */
  #takesMs(costUs: number): number {
    return (costUs * this.#drainRate.stretch) / this.#parts.carrier.threads / 1000;
  }

  refusal(tenant: string, deadlineMs: number): Refused | undefined {
    const stands = this.#standingRefusal(tenant, this.#options.jobBudgetUs);
    if (stands !== undefined) return stands;
    const waitMs = this.predictedWaitMs(tenant);
    if (waitMs > deadlineMs) return tooSlow(waitMs - deadlineMs);
    const full = this.#scheduler.fullFor(tenant);
    return full === undefined ? undefined : queueFull(full, waitMs);
  }

  /** A tenant that has had more than its part of the target waiting for a while is let in only as far as that. */
  #standingRefusal(tenant: string, jobUs: number): Refused | undefined {
    const nowMs = this.#parts.clock.monotonicMs();
    const ownUs = this.#scheduler.tenantBacklog(tenant).costUs + this.#underWay.costOf(tenant);
    const weight = this.#parts.weightOf?.(tenant) ?? 1;
    const active = Math.max(this.#scheduler.activeWeight, this.#underWay.weight, weight);
    const targetUs = this.#targetUs(jobUs, nowMs);
    const othersUs = this.#scheduler.waitingCostUs + this.#underWay.costUs - ownUs;
    // Its share of the target, or what others leave of it; in any case a few turns, or its queue would be empty in some.
    const partUs = Math.max(
      (targetUs * weight) / active,
      targetUs - othersUs,
      leastTurns * this.#options.limits.quantumUs * weight,
    );
    if (!this.#standing.refuses(tenant, ownUs > partUs, nowMs)) return undefined;
    // Its next call is let in when so much of its own has been done, in its turn.
    return queueStands((this.#takesMs(ownUs - partUs) * active) / weight);
  }

  /** The work that may wait and be under way where queues stand, in microseconds of cost of all workers. */
  #targetUs(jobUs: number, nowMs: number): number {
    const { queueTargetMs } = this.#options;
    const waitUs = (queueTargetMs * 1_000 * this.#targetStretch.at(nowMs)) / this.#drainRate.stretch;
    return this.#parts.carrier.threads * Math.max(waitUs, 2 * jobUs, this.#ready.wantedUs);
  }

  /** Takes the call in, or says why not; after a refusal `settle` is never called. */
  offer(call: C): Result<void> {
    if (call.cancellation.cancelled) return { ok: false, failure: callerHasGone };
    const stands = call.ownWork === true ? undefined : this.#standingRefusal(call.tenant, call.costUs);
    if (stands !== undefined) return stands;
    const waitMs = call.ownWork === true ? 0 : this.predictedWaitMs(call.tenant);
    const leftMs = call.deadlineAtMs - this.#parts.clock.monotonicMs();
    const endsAfterMs = this.#mustWait && waitMs > 0 ? waitMs + call.costUs / 1000 : waitMs;
    if (endsAfterMs > leftMs) return tooSlow(endsAfterMs - leftMs);
    const offer = this.#scheduler.offer(call);
    if (offer.outcome !== 'queued') {
      return queueFull(offer.outcome, this.predictedWaitMs(call.tenant));
    }
    const { cancellation } = call;
    cancellation.held = new HeldCall(this, offer.ticket, cancellation.held);
    this.#pumpSoon();
    return ok(undefined);
  }

  /** Resolves when nothing waits and nothing is under way. */
  async drained(): Promise<void> {
    while (this.#scheduler.waitingCalls > 0 || this.#jobsUnderWay > 0) {
      await new Promise<void>((resolve) => {
        this.#whenIdle.push(resolve);
      });
    }
  }

  /** Takes out all that waits, and settles it with this. */
  refuseWaiting(refused: Refused): void {
    while (this.#scheduler.waitingCalls > 0) {
      const due: Ticket<C>[] = [];
      const nowMs = this.#parts.clock.monotonicMs();
      this.#scheduler.draw(Number.MAX_SAFE_INTEGER, this.#scheduler.waitingCalls, nowMs, due, due);
      for (const { call } of due) call.settle(refused);
    }
    this.#pumpSoon();
  }

  /** Takes a waiting call out, whose caller has gone. */
  abandon(ticket: Ticket<C>): void {
    // Calls that are drawn already finish: a worker cannot be interrupted, and the key may have been used.
    if (this.#scheduler.cancel(ticket)) ticket.call.settle({ ok: false, failure: callerHasGone });
  }

  /**
   * Draws once for all calls that this turn of the event loop brings: a message to a thread costs as much as reading
   * several requests, and while the main thread is the narrowest place workers are always free for a batch of one.
   */
  #pumpSoon(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  #pump(): void {
    const { clock } = this.#parts;
    if (this.#isLittle()) this.#runHere(clock.monotonicMs());
    this.#overtake();
    while (this.#scheduler.waitingCalls > 0 && this.#mayCarry()) {
      const due: Ticket<C>[] = [];
      const expired: Ticket<C>[] = [];
      const { jobBudgetUs, soloBudgetUs, jobMaxCalls } = this.#options;
      const nowMs = clock.monotonicMs();
      // A job behind another begins when that has ended, and what will be late need not be done at all. Where nothing is
      // under way it is tried all the same: the price may be wrong.
      const behindMs = this.#mustWait ? this.#takesMs(this.#underWay.costUs) : 0;
      const budgetUs = this.#scheduler.onlyTenant === undefined ? jobBudgetUs : soloBudgetUs;
      this.#scheduler.draw(budgetUs, jobMaxCalls, nowMs + behindMs, due, expired, { whole: behindMs > 0 });
      for (const { call } of expired) call.settle({ ok: false, failure: tooLate });
      // Two jobs, where there is a place for both.
      const apart = this.#isOvertaken && this.#parts.carrier.freeSlots > 1;
      const { quantumUs } = this.#options.limits;
      const few = ({ call }: Ticket<C>) => this.#underWay.costOf(call.tenant) < quantumUs;
      const ahead = apart ? due.filter(few) : [];
      if (ahead.length > 0) void this.#carry(ahead, nowMs, true);
      const others = ahead.length > 0 ? due.filter((ticket) => !ahead.includes(ticket)) : due;
      if (others.length > 0) void this.#carry(others, nowMs, false);
    }
    this.#exhausted = this.#scheduler.waitingCalls === 0;
    if (this.#jobsUnderWay === 0 && this.#exhausted) {
      for (const resolve of this.#whenIdle.splice(0)) resolve();
    }
  }

  /**
   * The work that lies ready was drawn ahead of its time. So where it is more than a round, the turns of tenants that
   * come go before it, and those of tenants that have less than a quantum in it.
   */
  #overtake(): void {
    const { carrier, clock } = this.#parts;
    const { jobBudgetUs, jobMaxCalls } = this.#options;
    while (carrier.freeSlots > 0 && this.#isOvertaken && this.#scheduler.comes) {
      const due: Ticket<C>[] = [];
      const expired: Ticket<C>[] = [];
      const nowMs = clock.monotonicMs();
      this.#scheduler.draw(jobBudgetUs, jobMaxCalls, nowMs, due, expired, { comingOnly: true });
      for (const { call } of expired) call.settle({ ok: false, failure: tooLate });
      if (due.length > 0) void this.#carry(due, nowMs, true);
    }
  }

  get #isOvertaken(): boolean {
    const { overtakes, idleThreads } = this.#parts.carrier;
    return overtakes && idleThreads === 0 && this.#underWay.costUs > this.#roundUs;
  }

  /** A quantum for each tenant that has calls under way, or a job for each worker. */
  get #roundUs(): number {
    const { limits, jobBudgetUs } = this.#options;
    return Math.max(limits.quantumUs * this.#underWay.weight, jobBudgetUs * this.#parts.carrier.threads);
  }

  #isLittle(): boolean {
    const { waitingCalls, waitingCostUs } = this.#scheduler;
    return (
      this.#parts.carrier.runHere !== undefined &&
      waitingCalls > 0 &&
      waitingCostUs <= this.#options.runHereUpToUs
    );
  }

  #runHere(nowMs: number): void {
    const { carrier, clock, observer } = this.#parts;
    const due: Ticket<C>[] = [];
    const expired: Ticket<C>[] = [];
    this.#scheduler.draw(this.#options.runHereUpToUs, this.#options.jobMaxCalls, nowMs, due, expired);
    for (const { call } of expired) call.settle({ ok: false, failure: tooLate });
    if (due.length === 0) return;
    const calls = due.map(({ call }) => call);
    carrier.runHere?.(calls);
    if (observer === undefined) return;
    for (const call of calls) observer.waited(call.tenant, call.costUs, nowMs - call.offeredAtMs);
    observer.served(calls.length, clock.monotonicMs() - nowMs, this.#scheduler.waitingCalls);
  }

  /** A job for each idle worker, and further ones behind it as far as work is to lie ready. */
  #mayCarry(): boolean {
    const { freeSlots, idleThreads, threads } = this.#parts.carrier;
    if (idleThreads > 0) return true;
    if (freeSlots === 0) return false;
    // One job of each worker is in hand, and may be nearly done; jobs are taken to be alike.
    const readyUs = this.#underWay.costUs * Math.max(0, 1 - threads / this.#jobsUnderWay);
    return readyUs < threads * this.#ready.wantedUs;
  }

  async #carry(tickets: readonly Ticket<C>[], sentAtMs: number, ahead: boolean): Promise<void> {
    const { carrier, clock, observer } = this.#parts;
    const calls = tickets.map(({ call }) => call);
    const costUs = costOf(tickets);
    const waitingCalls = this.#scheduler.waitingCalls;
    const exhausted = this.#exhausted;
    this.#jobsUnderWay++;
    this.#underWay.add(calls);
    const end = await carrier.carry(calls, costUs, ahead);
    this.#jobsUnderWay--;
    this.#underWay.remove(calls);
    const nowMs = clock.monotonicMs();
    if (observer !== undefined) {
      for (const call of calls) observer.waited(call.tenant, call.costUs, sentAtMs - call.offeredAtMs);
      observer.served(calls.length, nowMs - sentAtMs, waitingCalls);
    }
    if (end !== undefined) {
      this.#drainRate.jobEnded(costUs, end.busyUs);
      const ranDry = end.idleUs > dryUs && this.#standing.stand(nowMs);
      if (ranDry && exhausted) this.#targetStretch.ranDry(nowMs);
      this.#ready.noticed(end.lagMs + (ranDry && !exhausted ? end.idleUs / 1_000 : 0), nowMs);
    }
    this.#pump();
  }
}

/** Of 300 us each. With two, tenants of weight 2 had 2.2 times as much as others in the simulator; with four, twice. */
const leastTurns = 4;

/** Less is what a worker takes between two jobs that lie ready. */
const dryUs = 100;

function costOf(tickets: readonly Ticket<Call>[]): number {
  let costUs = 0;
  for (const { call } of tickets) costUs += call.costUs;
  return costUs;
}

function tooSlow(retryAfterMs: number): Refused {
  return refuse('Backpressure', 'the wait would be longer than the deadline', Math.max(1, retryAfterMs));
}

/** `standing`: whoever is told at once asks at once again, so the answer waits. */
function queueStands(retryAfterMs: number): Refused {
  const hint = 'more of this tenant waits than its share is done of in time';
  return {
    ok: false,
    failure: { code: 'Backpressure', hint, retryAfterMs: Math.max(1, retryAfterMs), standing: true },
  };
}

function queueFull(bound: Exclude<Offer, 'queued'>, waitMs: number): Refused {
  const hint = bound === 'total_full' ? 'all queues are full' : 'the queue of this tenant is full';
  return refuse('Backpressure', hint, Math.max(1, waitMs));
}

/** Nobody reads this answer: the connection is closed. */
const callerHasGone: Failure = failure('Timeout', 'the caller closed the connection');
const tooLate: Failure = failure('Timeout', 'the deadline passed while the request waited');
