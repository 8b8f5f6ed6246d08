import type { QueueOutlook } from '../admission/admission.ts';
import { createDrainRate, type DrainRate } from '../admission/drain-rate.ts';
import {
  type Call,
  FairScheduler,
  type Offer,
  type SchedulerLimits,
  type Ticket,
} from '../admission/scheduler.ts';
import type { Cancellation } from '../core/cancellation.ts';
import type { Clock } from '../core/clock.ts';
import { type Failure, failure } from '../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';

/** A call on its way to workers of one kind. `settle` is called exactly once, with the answer or with the refusal. */
export interface LaneCall<Answer> extends Call {
  readonly cancellation: Cancellation;
  /** When it was offered, on the monotonic clock. */
  readonly offeredAtMs: number;
  settle(outcome: Result<Answer>): void;
}

/** Takes calls to workers. */
export interface Carrier<C> {
  /** How many more jobs it takes now. */
  readonly freeSlots: number;
  /** Workers that have no job; the next job goes to one of them. */
  readonly idleThreads: number;
  /** Workers that serve this lane, for the prediction of waits. */
  readonly threads: number;
  /** One job. Settles every call; resolves when the job's slot is free again; never rejects. */
  carry(calls: C[]): Promise<void>;
}

/** Told what happens in a lane; for histograms. Called for each job and each call, so it has to be quick. */
export interface LaneObserver {
  /** A job was sent: its calls, their cost, and how many calls still waited then. */
  sent(calls: number, costUs: number, stillWaiting: number): void;
  waited(tenant: string, costUs: number, waitMs: number): void;
  /** A job came back. */
  served(serviceMs: number): void;
}

export interface LaneOptions {
  readonly limits: SchedulerLimits;
  /** Cost of one job, in microseconds: long enough to pay for the thread hop, short enough to bound the wait behind it. */
  readonly jobBudgetUs: number;
  readonly jobMaxCalls: number;
  /**
   * A worker is given a second job while it has one, so that it need not wait for the main thread between the two; but
   * whoever comes next waits behind both. So only while less than this is under way for each worker, in microseconds.
   */
  readonly followUpBelowUs: number;
}

export interface LaneParts<C> {
  readonly carrier: Carrier<C>;
  readonly clock: Clock;
  readonly weightOf?: (tenant: string) => number;
  readonly observer?: LaneObserver;
}

/** Waiting calls, the fair scheduler, and the carrier that is given work only when it can take it. */
export class Lane<Answer, C extends LaneCall<Answer>> implements QueueOutlook {
  readonly #options: LaneOptions;
  readonly #parts: LaneParts<C>;
  readonly #scheduler: FairScheduler<C>;
  readonly #drainRate: DrainRate;
  #jobsUnderWay = 0;
  #costUnderWayUs = 0;
  #pumping = false;
  /** Whether something waited ever since the last job ended. */
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

  /** How long a call that this tenant offers now would wait for a worker, in milliseconds, by costs and rate as measured. */
  predictedWaitMs(tenant: string): number {
    const aheadUs = this.#scheduler.workAheadUs(tenant) + this.#costUnderWayUs;
    return (aheadUs * this.#drainRate.stretch) / this.#parts.carrier.threads / 1000;
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
    const waitMs = this.predictedWaitMs(call.tenant);
    const leftMs = call.deadlineAtMs - this.#parts.clock.monotonicMs();
    if (waitMs > leftMs) return tooSlow(waitMs - leftMs);
    const offer = this.#scheduler.offer(call);
    if (offer.outcome !== 'queued') {
      return queueFull(offer.outcome, this.predictedWaitMs(call.tenant));
    }
    // The items of a batch have one caller, and all of them go with it.
    const others = call.cancellation.onCancel;
    call.cancellation.onCancel = () => {
      others?.();
      this.#cancel(offer.ticket);
    };
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

  #cancel(ticket: Ticket<C>): void {
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
    while (this.#mayCarry() && this.#scheduler.waitingCalls > 0) {
      const due: C[] = [];
      const expired: C[] = [];
      const { jobBudgetUs, jobMaxCalls } = this.#options;
      const nowMs = clock.monotonicMs();
      this.#scheduler.draw(jobBudgetUs, jobMaxCalls, nowMs, due, expired);
      for (const call of expired) call.settle({ ok: false, failure: tooLate });
      if (due.length > 0) void this.#carry(due, nowMs);
    }
    this.#backlogged &&= this.#scheduler.waitingCalls > 0;
    if (this.#jobsUnderWay === 0 && this.#scheduler.waitingCalls === 0) {
      for (const resolve of this.#whenIdle.splice(0)) resolve();
    }
  }

  /** A job for each idle worker, and a second behind it only where what is under way is soon done. */
  #mayCarry(): boolean {
    const { freeSlots, idleThreads, threads } = this.#parts.carrier;
    if (idleThreads > 0) return true;
    return freeSlots > 0 && this.#costUnderWayUs < threads * this.#options.followUpBelowUs;
  }

  async #carry(calls: C[], sentAtMs: number): Promise<void> {
    const { carrier, clock, observer } = this.#parts;
    let costUs = 0;
    for (const call of calls) {
      costUs += call.costUs;
      observer?.waited(call.tenant, call.costUs, sentAtMs - call.offeredAtMs);
    }
    observer?.sent(calls.length, costUs, this.#scheduler.waitingCalls);
    this.#jobsUnderWay++;
    this.#costUnderWayUs += costUs;
    await carrier.carry(calls);
    this.#jobsUnderWay--;
    this.#costUnderWayUs -= costUs;
    const nowMs = clock.monotonicMs();
    observer?.served(nowMs - sentAtMs);
    this.#drainRate.jobEnded(costUs, this.#backlogged, nowMs);
    this.#backlogged = this.#scheduler.waitingCalls > 0;
    this.#pump();
  }
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
