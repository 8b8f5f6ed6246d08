import type { Cancellation, Held } from '../core/cancellation.ts';
import type { Clock } from '../core/clock.ts';
import { type Failure, failure } from '../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import { createDrainRate, type DrainRate } from './drain-rate.ts';
import type { QueueOutlook } from './outlook.ts';
import { type Call, FairScheduler, type Offer, type SchedulerLimits, type Ticket } from './scheduler.ts';

/** A call on its way to workers of one kind. `settle` is called exactly once, with the answer or with the refusal. */
export interface LaneCall<Answer> extends Call {
  readonly cancellation: Cancellation;
  /** The time of the offer, on the monotonic clock. */
  readonly offeredAtMs: number;
  settle(outcome: Result<Answer>): void;
}

/** A job that workers have. */
export interface CarriedJob {
  /** Resolves when the job's slot is free again, with the number of calls that were done: the first ones. Never rejects. */
  readonly done: Promise<number>;
  /** Wants it to end after what is in hand; may come too late. Only for an interruptible job. */
  interrupt(): void;
}

/** Takes calls to workers. */
export interface Carrier<C> {
  /** The number of jobs that it still takes now. */
  readonly freeSlots: number;
  /** Workers that have no job; the next job goes to one of them. */
  readonly idleThreads: number;
  /** Workers that serve this lane, for the prediction of waits. */
  readonly threads: number;
  /** One job. Settles every call, unless an interruptible job is interrupted: then those that were done. */
  carry(calls: C[], interruptible: boolean): CarriedJob;
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
  /**
   * The same while only one tenant has calls waiting: whoever comes next interrupts such a job, so that it may be long
   * enough for the thread hop to cost next to nothing.
   */
  readonly soloBudgetUs: number;
  readonly jobMaxCalls: number;
  /**
   * A worker is given a second job while it has one, so that it need not wait for the main thread between the two; but
   * whoever comes next waits behind both. So only while less than this is under way for each worker, in microseconds.
   */
  readonly followUpBelowUs: number;
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

/** A job of calls of one tenant, sent while no other tenant waited. */
interface SoloJob {
  readonly tenant: string;
  readonly carried: CarriedJob;
  interrupted: boolean;
}

/** Waiting calls, the fair scheduler, and the carrier that is given work only when it can take it. */
export class Lane<Answer, C extends LaneCall<Answer>> implements QueueOutlook {
  readonly #options: LaneOptions;
  readonly #parts: LaneParts<C>;
  readonly #scheduler: FairScheduler<C>;
  readonly #drainRate: DrainRate;
  #jobsUnderWay = 0;
  #costUnderWayUs = 0;
  /** In the order in which they were sent. */
  readonly #soloJobs = new Set<SoloJob>();
  #soloCostUs = 0;
  /** The number of them that are to end. */
  #interrupted = 0;
  #soloTenant: string | undefined;
  #pumping = false;
  /** True if something waited ever since the last job ended. */
  #backlogged = false;
  #whenIdle: (() => void)[] = [];

  constructor(options: LaneOptions, parts: LaneParts<C>) {
    this.#options = options;
    this.#parts = parts;
    this.#scheduler = new FairScheduler(options.limits, parts.weightOf);
    this.#drainRate = createDrainRate(parts.carrier.threads);
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
    // Others do not wait for a job that they interrupt.
    const interruptibleUs = tenant === this.#soloTenant ? 0 : this.#soloCostUs;
    return this.#takesMs(this.#scheduler.workAheadUs(tenant) + this.#costUnderWayUs - interruptibleUs);
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
    const waitMs = this.predictedWaitMs(tenant);
    if (waitMs > deadlineMs) return tooSlow(waitMs - deadlineMs);
    const full = this.#scheduler.fullFor(tenant);
    return full === undefined ? undefined : queueFull(full, waitMs);
  }

  /** Takes the call in, or says why not; after a refusal `settle` is never called. */
  offer(call: C): Result<void> {
    if (call.cancellation.cancelled) return { ok: false, failure: callerHasGone };
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
    while (this.#scheduler.waitingCalls > 0 && this.#mayCarry()) {
      const due: Ticket<C>[] = [];
      const expired: Ticket<C>[] = [];
      const { jobBudgetUs, soloBudgetUs, jobMaxCalls } = this.#options;
      const nowMs = clock.monotonicMs();
      const solo = this.#scheduler.onlyTenant !== undefined;
      // A job behind another begins when that has ended, and what will be late need not be done at all. Where nothing is
      // under way it is tried all the same: the price may be wrong.
      const behindMs = this.#mustWait ? this.#takesMs(this.#costUnderWayUs) : 0;
      const budgetUs = solo ? soloBudgetUs : jobBudgetUs;
      this.#scheduler.draw(budgetUs, jobMaxCalls, nowMs + behindMs, due, expired, behindMs > 0);
      for (const { call } of expired) call.settle({ ok: false, failure: tooLate });
      if (due.length > 0) void this.#carry(due, nowMs, solo);
    }
    this.#interruptForOthers();
    this.#backlogged &&= this.#scheduler.waitingCalls > 0;
    if (this.#jobsUnderWay === 0 && this.#scheduler.waitingCalls === 0) {
      for (const resolve of this.#whenIdle.splice(0)) resolve();
    }
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

  /**
   * A job for each idle worker. A second one behind it only where what is under way is soon done, or where only one
   * tenant has calls waiting: then it is called back when another comes.
   */
  #mayCarry(): boolean {
    const { freeSlots, idleThreads, threads } = this.#parts.carrier;
    if (idleThreads > 0) return true;
    if (freeSlots === 0) return false;
    return (
      this.#scheduler.onlyTenant !== undefined ||
      this.#costUnderWayUs < threads * this.#options.followUpBelowUs
    );
  }

  /** Ends as many long jobs of one tenant as are needed for the calls of others that wait. */
  #interruptForOthers(): void {
    for (const job of this.#soloJobs) {
      const { tenant, carried } = job;
      const own = this.#scheduler.tenantBacklog(tenant);
      // Counted, as differences of sums of costs are not exactly zero.
      if (this.#scheduler.waitingCalls === own.calls) continue;
      const othersUs = this.#scheduler.waitingCostUs - own.costUs;
      if (othersUs <= this.#interrupted * this.#options.jobBudgetUs) return;
      if (job.interrupted) continue;
      job.interrupted = true;
      this.#interrupted++;
      carried.interrupt();
    }
  }

  async #carry(tickets: Ticket<C>[], sentAtMs: number, solo: boolean): Promise<void> {
    const { carrier, clock, observer } = this.#parts;
    const calls = tickets.map(({ call }) => call);
    const costUs = costOf(calls);
    const waitingCalls = this.#scheduler.waitingCalls;
    this.#jobsUnderWay++;
    this.#costUnderWayUs += costUs;
    const carried = carrier.carry(calls, solo);
    const soloJob = solo ? this.#addSolo(calls, carried, costUs) : undefined;
    const done = await carried.done;
    this.#jobsUnderWay--;
    this.#costUnderWayUs -= costUs;
    if (soloJob !== undefined) {
      this.#soloJobs.delete(soloJob);
      if (soloJob.interrupted) this.#interrupted--;
      this.#soloCostUs -= costUs;
    }
    const nowMs = clock.monotonicMs();
    const served = done === calls.length ? calls : calls.slice(0, done);
    if (observer !== undefined && done > 0) {
      for (const call of served) observer.waited(call.tenant, call.costUs, sentAtMs - call.offeredAtMs);
      observer.served(done, nowMs - sentAtMs, waitingCalls);
    }
    if (done < calls.length) this.#putBack(tickets.slice(done));
    this.#drainRate.jobEnded(served === calls ? costUs : costOf(served), this.#backlogged, nowMs);
    this.#backlogged = this.#scheduler.waitingCalls > 0;
    this.#pump();
  }

  #addSolo([first]: readonly C[], carried: CarriedJob, costUs: number): SoloJob {
    const { tenant } = first as C;
    const job = { tenant, carried, interrupted: false };
    this.#soloJobs.add(job);
    this.#soloCostUs += costUs;
    this.#soloTenant = tenant;
    return job;
  }

  #putBack(tickets: readonly Ticket<C>[]): void {
    const waiting = tickets.filter(({ call }) => !call.cancellation.cancelled);
    this.#scheduler.putBack(waiting);
    if (waiting.length === tickets.length) return;
    for (const { call } of tickets) {
      if (call.cancellation.cancelled) call.settle({ ok: false, failure: callerHasGone });
    }
  }
}

function costOf(calls: readonly Call[]): number {
  let costUs = 0;
  for (const call of calls) costUs += call.costUs;
  return costUs;
}

function tooSlow(retryAfterMs: number): Refused {
  return refuse('Backpressure', 'the wait would be longer than the deadline', Math.max(1, retryAfterMs));
}

function queueFull(bound: Exclude<Offer, 'queued'>, waitMs: number): Refused {
  const hint = bound === 'total_full' ? 'all queues are full' : 'the queue of this tenant is full';
  return refuse('Backpressure', hint, Math.max(1, waitMs));
}

/** Nobody reads this answer: the connection is closed. */
const callerHasGone: Failure = failure('Timeout', 'the caller closed the connection');
const tooLate: Failure = failure('Timeout', 'the deadline passed while the request waited');
