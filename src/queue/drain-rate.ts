/**
 * The ratio of the time that work takes to its cost, while there is more than the workers can do: 1 on cores of their own, more
 * where they share them or wait for the main thread. Learned from jobs that had others waiting behind them.
 */
export interface DrainRate {
  /** Microseconds of time for each microsecond of cost and worker. At least 1. */
  readonly stretch: number;
  /** A job of `costUs` ended; `backlogged`: work was waiting all the time since the last one ended. */
  jobEnded(costUs: number, backlogged: boolean, nowMs: number): void;
}

/** A second of work weighs about as much as all before it. */
const memoryUs = 1_000_000;

/** More than this is a stall, and refusing everything because of one would last longer than the stall. */
const maxStretch = 10;

export function createDrainRate(threads: number): DrainRate {
  let costUs = memoryUs;
  let elapsedUs = memoryUs / threads;
  let lastMs = 0;
  return {
    get stretch() {
      return Math.min(maxStretch, Math.max(1, (elapsedUs * threads) / costUs));
    },
    jobEnded(jobCostUs, backlogged, nowMs) {
      const sinceUs = (nowMs - lastMs) * 1000;
      lastMs = nowMs;
      if (!backlogged || sinceUs < 0) return;
      const keep = Math.max(0, 1 - jobCostUs / memoryUs);
      costUs = costUs * keep + jobCostUs;
      elapsedUs = elapsedUs * keep + sinceUs;
    },
  };
}
