import type { Refused } from '../core/result.ts';

/** Each is a connection and about 3 KB; what comes beyond it is answered at once. */
const maxHeld = 4_096;
/** As long as Retry-After tells to wait at least. */
const maxHoldMs = 1_000;

/**
 * Refusals that are answered late, to tenants over their share: who is told at once asks at once again, and being read
 * costs the others' thread as much each time. A connection that waits for its answer costs nothing.
 */
export class LateRefusals {
  #held = 0;

  /** Refusals that wait now. */
  get held(): number {
    return this.#held;
  }

  /** `afterMs`: what the caller was ready to wait for an answer. */
  hold(refused: Refused, afterMs: number): Refused | Promise<Refused> {
    if (this.#held >= maxHeld) return refused;
    this.#held++;
    return new Promise((resolve) => {
      setTimeout(
        () => {
          this.#held--;
          resolve(refused);
        },
        Math.min(afterMs, maxHoldMs),
      );
    });
  }
}
