import type { Clock } from '../core/clock.ts';

/**
 * Calls `act` where the time of day went as far as the process's own clock since the call before, give or take `toleranceMs`;
 * so never at the first call. A time of day that was set wrong for a moment would end what has not ended, and for good.
 */
export function whereClockIsSteady(clock: Clock, toleranceMs: number, act: () => void): () => void {
  let before: { readonly utcMs: number; readonly monotonicMs: number } | undefined;
  return () => {
    const [utcMs, monotonicMs] = [clock.utcMs(), clock.monotonicMs()];
    const stepMs =
      before === undefined
        ? Number.POSITIVE_INFINITY
        : Math.abs(utcMs - before.utcMs - (monotonicMs - before.monotonicMs));
    before = { utcMs, monotonicMs };
    if (stepMs <= toleranceMs) act();
  };
}
