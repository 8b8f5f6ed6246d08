import type { Cancellation } from '../../core/cancellation.ts';
import type { Refused } from '../../core/result.ts';

/** Each is a connection and about 3 KB; what comes beyond it is answered at once. */
const maxHeld = 4_096;
/** As long as Retry-After tells to wait at least. */
const maxHoldMs = 1_000;
/** A flooding caller may not choose to be answered sooner: 4,096 connections then ask 80,000 times a second at most. */
const minHoldMs = 50;

/**
 * Refusals that are answered late, to tenants that flood: who is told at once asks at once again, and being read costs the
 * others' thread as much each time. A connection that waits for its answer costs nothing.
 */
export class LateRefusals {
  #held = 0;

  /** Refusals that wait now. */
  get held(): number {
    return this.#held;
  }

  /** `afterMs`: what the caller is ready to wait for an answer. */
  hold(refused: Refused, afterMs: number, cancellation: Cancellation): Refused | Promise<Refused> {
    if (this.#held >= maxHeld) return refused;
    this.#held++;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        cancellation.held = undefined;
        this.#held--;
        resolve(refused);
      };
      const timer = setTimeout(end, Math.max(minHoldMs, Math.min(afterMs, maxHoldMs)));
      // Nobody reads the answer of a caller that has gone, and its place is free.
      cancellation.held = { abandon: end };
    });
  }
}
