export interface ThreadShareOptions {
  /**
   * Reading requests may take so much of one turn of the event loop before shares count, in milliseconds: with less,
   * whoever waits in another socket waits for less.
   */
  readonly turnMs: number;
  /** Shares are of the calls of the last one to two of these, in milliseconds. */
  readonly windowMs: number;
  /** Over its share is who had this many times as much as is fair… */
  readonly tolerance: number;
  /** …and this many calls more, in a window. */
  readonly allowance: number;
}

/**
 * Some ten Ed25519 signatures a turn. Beside a flood of a hundred times its load a victim's p95 was 3.7 ms with 0.2, 4.4
 * with 0.3, 6.8 with 0.5 and 540 without; the flood kept 85, 88 and 93 % of what it had alone. Fewer than a thousand calls
 * a second never count as a flood: they take 2 % of the thread.
 */
export const defaultThreadShare: ThreadShareOptions = {
  turnMs: 0.25,
  windowMs: 50,
  tolerance: 1.5,
  allowance: 50,
};

export interface ThreadShareParts {
  /** Calls back when this turn of the event loop has read what there was to read. */
  readonly atTurnEnd: (ended: () => void) => void;
  readonly weightOf?: (tenant: string) => number;
  /** Who is counted together. */
  readonly queueOf?: (tenant: string) => string;
}

interface Window {
  readonly startedAtMs: number;
  readonly callsOf: Map<string, number>;
  calls: number;
  /** Sum of the weights of the tenants in it. */
  weights: number;
}

/**
 * The one thread that reads requests is shared too, and what waits in sockets stands in no fair queue: a turn of the
 * event loop reads all of it, in any order. So within a turn that has become long, a tenant that had more than its share of
 * the calls lately is refused, and others are not. Who is alone is never over its share. Holds the tenants of at most two
 * windows, which is what one thread can read in that time.
 */
export class ThreadShare {
  readonly #options: ThreadShareOptions;
  readonly #atTurnEnd: ThreadShareParts['atTurnEnd'];
  readonly #weightOf: (tenant: string) => number;
  readonly #queueOf: (tenant: string) => string;
  #turnStartedAtMs: number | undefined;
  #window = emptyWindow(0);
  #before = emptyWindow(0);
  readonly #endTurn = (): void => {
    this.#turnStartedAtMs = undefined;
  };

  constructor(
    options: ThreadShareOptions,
    { atTurnEnd, weightOf = () => 1, queueOf = (tenant) => tenant }: ThreadShareParts,
  ) {
    this.#options = options;
    this.#atTurnEnd = atTurnEnd;
    this.#weightOf = weightOf;
    this.#queueOf = queueOf;
  }

  /** Counts a call that was read. True: the turn is long, and its tenant has had its share. */
  spent(tenant: string, nowMs: number): boolean {
    if (this.#turnStartedAtMs === undefined) {
      this.#turnStartedAtMs = nowMs;
      this.#atTurnEnd(this.#endTurn);
      this.#turnWindows(nowMs);
    }
    const window = this.#window;
    const queue = this.#queueOf(tenant);
    const calls = window.callsOf.get(queue) ?? 0;
    if (calls === 0) window.weights += this.#weightOf(queue);
    window.callsOf.set(queue, calls + 1);
    window.calls++;
    return nowMs - this.#turnStartedAtMs > this.#options.turnMs && this.isOver(tenant);
  }

  /** Whether the tenant had more than its share lately. */
  isOver(tenant: string): boolean {
    const { tolerance, allowance } = this.#options;
    const window = this.#window;
    const before = this.#before;
    const queue = this.#queueOf(tenant);
    const own = (window.callsOf.get(queue) ?? 0) + (before.callsOf.get(queue) ?? 0);
    const weights = Math.max(window.weights, before.weights);
    const fair = ((window.calls + before.calls) * this.#weightOf(queue)) / weights;
    return own > fair * tolerance + allowance;
  }

  #turnWindows(nowMs: number): void {
    const ageMs = nowMs - this.#window.startedAtMs;
    const { windowMs } = this.#options;
    if (ageMs < windowMs) return;
    this.#before = ageMs < 2 * windowMs ? this.#window : emptyWindow(nowMs);
    this.#window = emptyWindow(nowMs);
  }
}

function emptyWindow(startedAtMs: number): Window {
  return { startedAtMs, callsOf: new Map(), calls: 0, weights: 0 };
}
