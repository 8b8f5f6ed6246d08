import type { Clock } from '../../core/clock.ts';

export interface ThreadShareOptions {
  /**
   * Reading requests may take so much of one turn of the event loop before shares count, in milliseconds: with less,
   * whoever waits in another socket waits for less.
   */
  readonly turnMs: number;
  /** Shares are of the time of the last one to two of these, in milliseconds. */
  readonly windowMs: number;
  /** A tenant is over its share if it had this many times as much of the thread as is fair… */
  readonly tolerance: number;
  /** …and so much more, in milliseconds of the last two windows. */
  readonly allowanceMs: number;
  /** Reading may go on to take so much of a turn, in milliseconds, when it has taken more for a while. */
  readonly standingTurnMs: number;
}

/**
 * `turnMs`: some ten Ed25519 signatures. `allowanceMs`: 2 % of the thread is no flood. `standingTurnMs`: what was read in it
 * takes about as long again to begin and to answer, and waits for one such turn before it is read.
 */
export const defaultThreadShare: ThreadShareOptions = {
  turnMs: 0.25,
  windowMs: 50,
  tolerance: 1.5,
  allowanceMs: 2,
  standingTurnMs: 2,
};

export interface ThreadShareParts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Calls back when this turn of the event loop has read what there was to read. */
  readonly atTurnEnd: (ended: () => void) => void;
  /** The part of the time since it was last asked in which the thread was busy, 0 to 1; always busy, when not given. */
  readonly utilization?: () => number;
  readonly weightOf?: (tenant: string) => number;
  /** The name under which a tenant is counted, alone or together with others. */
  readonly queueOf?: (tenant: string) => string;
}

interface Window {
  readonly startedAtMs: number;
  readonly msOf: Map<string, number>;
  totalMs: number;
  /** Sum of the weights of the tenants in it. */
  weights: number;
}

/**
 * The one thread that reads requests is shared too, and what waits in sockets stands in no fair queue: a turn of the
 * event loop reads all of it, in any order. So within a turn that has become long, calls of a tenant that had more than its
 * share of the thread lately go on later, and others at once. Who is alone is never over its share. Holds the tenants of at
 * most two windows, which is what one thread can read in that time.
 */
export class ThreadShare {
  readonly #options: ThreadShareOptions;
  readonly #clock: ThreadShareParts['clock'];
  readonly #atTurnEnd: ThreadShareParts['atTurnEnd'];
  readonly #weightOf: (tenant: string) => number;
  readonly #queueOf: (tenant: string) => string;
  #turnStartedAtMs: number | undefined;
  /** Of the call that is being read; its time ends with the next one, or with the turn. */
  #reading = '';
  #readingSinceMs = 0;
  #window = emptyWindow(0);
  #before = emptyWindow(0);
  #longTurn = new LongTurns();
  readonly #utilization: () => number;
  /** In the last window. */
  #utilized = 1;
  readonly #endTurn = (): void => {
    const nowMs = this.#clock.monotonicMs();
    this.#charge(nowMs);
    const tookMs = nowMs - (this.#turnStartedAtMs ?? nowMs);
    this.#longTurn.ended(tookMs > this.#options.standingTurnMs, nowMs);
    this.#turnStartedAtMs = undefined;
  };

  constructor(
    options: ThreadShareOptions,
    {
      clock,
      atTurnEnd,
      utilization = () => 1,
      weightOf = () => 1,
      queueOf = (tenant) => tenant,
    }: ThreadShareParts,
  ) {
    this.#options = options;
    this.#clock = clock;
    this.#atTurnEnd = atTurnEnd;
    this.#utilization = utilization;
    this.#weightOf = weightOf;
    this.#queueOf = queueOf;
  }

  /** A call was read. True: the turn is long, and its tenant has had its share, so that others come first. */
  spent(tenant: string, nowMs: number): boolean {
    if (this.#turnStartedAtMs === undefined) {
      this.#turnStartedAtMs = nowMs;
      this.#atTurnEnd(this.#endTurn);
      this.#turnWindows(nowMs);
    } else {
      this.#charge(nowMs);
    }
    this.#reading = this.#queueOf(tenant);
    this.#readingSinceMs = nowMs;
    return nowMs - this.#turnStartedAtMs > this.#options.turnMs && this.isOver(tenant);
  }

  /**
   * Turns have been long for a while, and this one is: so what a tenant asks that had its share of the thread is not done. Also
   * where it is alone, as then the thread as a whole is asked for more than it can do.
   */
  stands(tenant: string, nowMs: number): boolean {
    const { standingTurnMs } = this.#options;
    if (nowMs - (this.#turnStartedAtMs ?? nowMs) <= standingTurnMs || !this.#longTurn.stand(nowMs))
      return false;
    // A few large requests make turns long too, and leave the thread time in between.
    if (this.#utilized < fullUse || !this.#exceeds(tenant, fullShare, 0)) return false;
    this.#longTurn.refused(nowMs);
    return true;
  }

  /** True if the tenant had more than its share of the thread lately. */
  isOver(tenant: string): boolean {
    return this.#exceeds(tenant, this.#options.tolerance, this.#options.allowanceMs);
  }

  #exceeds(tenant: string, tolerance: number, allowanceMs: number): boolean {
    const window = this.#window;
    const before = this.#before;
    const queue = this.#queueOf(tenant);
    const ownMs = (window.msOf.get(queue) ?? 0) + (before.msOf.get(queue) ?? 0);
    const weights = Math.max(window.weights, before.weights, 1);
    const fairMs = ((window.totalMs + before.totalMs) * this.#weightOf(queue)) / weights;
    return ownMs > fairMs * tolerance + allowanceMs;
  }

  #charge(nowMs: number): void {
    const window = this.#window;
    const tookMs = Math.max(0, nowMs - this.#readingSinceMs);
    const ownMs = window.msOf.get(this.#reading);
    if (ownMs === undefined) window.weights += this.#weightOf(this.#reading);
    window.msOf.set(this.#reading, (ownMs ?? 0) + tookMs);
    window.totalMs += tookMs;
  }

  #turnWindows(nowMs: number): void {
    const ageMs = nowMs - this.#window.startedAtMs;
    const { windowMs } = this.#options;
    if (ageMs < windowMs) return;
    this.#utilized = this.#utilization();
    this.#before = ageMs < 2 * windowMs ? this.#window : emptyWindow(nowMs);
    this.#window = emptyWindow(nowMs);
  }
}

/** Four floods that are alike have a quarter each, more or less. */
const fullShare = 0.75;

/** Of the thread's time: less, and there is no more to read than it can do. */
const fullUse = 0.9;

/** The times of a queue that stands (queue/standing-queue.ts). */
const standingMs = 100;
const overAfterMs = 1_000;

/** Tells turns that are long for a while from a single one. */
class LongTurns {
  #sinceMs: number | undefined;
  #untilMs = Number.NEGATIVE_INFINITY;

  ended(long: boolean, nowMs: number): void {
    if (!long) this.#sinceMs = undefined;
    else this.#sinceMs ??= nowMs;
  }

  stand(nowMs: number): boolean {
    return nowMs < this.#untilMs || (this.#sinceMs !== undefined && nowMs - this.#sinceMs >= standingMs);
  }

  refused(nowMs: number): void {
    this.#untilMs = nowMs + overAfterMs;
  }
}

function emptyWindow(startedAtMs: number): Window {
  return { startedAtMs, msOf: new Map(), totalMs: 0, weights: 0 };
}
