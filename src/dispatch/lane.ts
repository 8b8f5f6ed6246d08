import { type Call, FairScheduler, type SchedulerLimits, type Ticket } from '../admission/scheduler.ts';
import type { Cancellation } from '../core/cancellation.ts';
import type { Clock } from '../core/clock.ts';
import type { Failure } from '../core/failure.ts';
import { failure } from '../core/failure.ts';
import { ok, type Result } from '../core/result.ts';

/** A call on its way to workers of one kind. `settle` is called exactly once, with the answer or with the refusal. */
export interface LaneCall<Answer> extends Call {
  readonly cancellation: Cancellation;
  settle(outcome: Result<Answer>): void;
}

/** Takes calls to workers. */
export interface Carrier<C> {
  /** How many more jobs it takes now. */
  readonly freeSlots: number;
  /** Workers that serve this lane, for the prediction of waits. */
  readonly threads: number;
  /** One job. Settles every call; resolves when the job's slot is free again; never rejects. */
  carry(calls: C[]): Promise<void>;
}

export interface LaneOptions {
  readonly limits: SchedulerLimits;
  /** Cost of one job, in microseconds: long enough to pay for the thread hop, short enough to bound the wait behind it. */
  readonly jobBudgetUs: number;
  readonly jobMaxCalls: number;
}

/** Waiting calls, the fair scheduler, and the carrier that is given work only when it can take it. */
export class Lane<Answer, C extends LaneCall<Answer>> {
  readonly #options: LaneOptions;
  readonly #scheduler: FairScheduler<C>;
  readonly #carrier: Carrier<C>;
  readonly #clock: Clock;
  #underWay = 0;
  #pumping = false;
  #idle: (() => void) | undefined;

  constructor(
    options: LaneOptions,
    parts: { carrier: Carrier<C>; clock: Clock; weightOf?: (tenant: string) => number },
  ) {
    this.#options = options;
    this.#carrier = parts.carrier;
    this.#clock = parts.clock;
    this.#scheduler = new FairScheduler(options.limits, parts.weightOf);
  }

  get waitingCalls(): number {
    return this.#scheduler.waitingCalls;
  }

  /** Takes the call in, or says why not; after a refusal `settle` is never called. */
  offer(call: C): Result<void> {
    if (call.cancellation.cancelled) return { ok: false, failure: callerHasGone };
    const offer = this.#scheduler.offer(call);
    if (offer.outcome !== 'queued') {
      return { ok: false, failure: failure('Backpressure', undefined, this.#drainMs()) };
    }
    call.cancellation.onCancel = () => this.#cancel(offer.ticket);
    this.#pumpSoon();
    return ok(undefined);
  }

  /** Resolves when nothing waits and nothing is under way. */
  async drained(): Promise<void> {
    while (this.#scheduler.waitingCalls > 0 || this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
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
    while (this.#carrier.freeSlots > 0 && this.#scheduler.waitingCalls > 0) {
      const due: C[] = [];
      const expired: C[] = [];
      const { jobBudgetUs, jobMaxCalls } = this.#options;
      this.#scheduler.draw(jobBudgetUs, jobMaxCalls, this.#clock.monotonicMs(), due, expired);
      for (const call of expired) call.settle({ ok: false, failure: tooLate });
      if (due.length > 0) void this.#carry(due);
    }
    if (this.#underWay === 0 && this.#scheduler.waitingCalls === 0) {
      this.#idle?.();
      this.#idle = undefined;
    }
  }

  async #carry(calls: C[]): Promise<void> {
    this.#underWay++;
    await this.#carrier.carry(calls);
    this.#underWay--;
    this.#pump();
  }

  /** When what waits now will have been served, in milliseconds. */
  #drainMs(): number {
    return Math.max(1, this.#scheduler.waitingCostUs / this.#carrier.threads / 1000);
  }
}

/** Nobody reads this answer: the connection is closed. */
const callerHasGone: Failure = failure('Timeout', 'the caller closed the connection');
const tooLate: Failure = failure('Timeout', 'the deadline passed while the request waited');
