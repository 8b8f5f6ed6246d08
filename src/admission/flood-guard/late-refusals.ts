import type { Cancellation } from '../../core/cancellation.ts';
import type { Refused } from '../../core/result.ts';

/** Each is a connection and about 3 KB; what comes beyond it is answered at once. */
const maxHeld = 4_096;
/** As long as Retry-After tells to wait at least. */
const maxHoldMs = 1_000;
/** Whoever floods may not choose to be answered sooner. */
const minHoldMs = 50;
/**
 * Answered in one turn of the event loop, a turn being a millisecond at least. Answering one and reading what its connection
 * asks next takes 25 us: so no number of connections takes more than a fifth of the thread, or of a turn of 1 ms.
 */
const perTurn = 8;
const turnMs = 1;

/**
 * Refusals that are answered late, to tenants that flood: who is told at once asks at once again, and being read costs the
 * others' thread as much each time. A connection that waits for its answer costs nothing.
 */
export class LateRefusals {
  #held = 0;
  /** Their time has come. */
  #due: (() => void)[] = [];
  #answeredInTurn = 0;
  #turning = false;

  /** Refusals that wait now. */
  get held(): number {
    return this.#held;
  }

  /** `afterMs`: what the caller is ready to wait for an answer. */
  hold(refused: Refused, afterMs: number, cancellation: Cancellation): Refused | Promise<Refused> {
    if (this.#held >= maxHeld) return refused;
    this.#held++;
    return new Promise((resolve) => {
      let ended = false;
      const end = () => {
        if (ended) return;
        ended = true;
        clearTimeout(timer);
        cancellation.held = undefined;
        this.#held--;
        resolve(refused);
      };
      const timer = setTimeout(() => this.#answer(end), Math.max(minHoldMs, Math.min(afterMs, maxHoldMs)));
      // Nobody reads the answer of a caller that has gone, and its place is free.
      cancellation.held = { abandon: end };
    });
  }

  /** Those of one burst would otherwise be answered together, and come again together. */
  #answer(end: () => void): void {
    if (this.#answeredInTurn >= perTurn) {
      this.#due.push(end);
      return;
    }
    this.#answeredInTurn++;
    end();
    if (this.#turning) return;
    this.#turning = true;
    setTimeout(this.#nextTurn, turnMs);
  }

  readonly #nextTurn = (): void => {
    this.#answeredInTurn = 0;
    this.#turning = false;
    for (const end of this.#due.splice(0, perTurn)) this.#answer(end);
  };
}
