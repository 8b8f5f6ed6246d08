/**
 * How much longer than its cost work takes a worker: 1 on a core of its own, more where cores are shared. Learned from the
 * time for which workers had jobs in hand, never from that in which they had none: what lowers the throughput so does
 * not lower the estimate that decides how much is let in.
 */
export interface DrainRate {
  /** Microseconds of a worker's time for each microsecond of cost. At least 1. */
  readonly stretch: number;
  /** A job of `costUs` kept its worker for `busyUs`. */
  jobEnded(costUs: number, busyUs: number): void;
}

/** A second of work weighs about as much as all before it. */
const memoryUs = 1_000_000;

/** More than this is a stall, and refusing everything because of one would last longer than the stall. */
const maxStretch = 10;

export function createDrainRate(): DrainRate {
  let costUs = memoryUs;
  let tookUs = memoryUs;
  return {
    get stretch() {
      return Math.min(maxStretch, Math.max(1, tookUs / costUs));
    },
    jobEnded(jobCostUs, busyUs) {
      // Written so that what is not a number counts as nothing.
      if (!(busyUs >= 0)) return;
      const keep = Math.max(0, 1 - jobCostUs / memoryUs);
      costUs = costUs * keep + jobCostUs;
      tookUs = tookUs * keep + busyUs;
    },
  };
}
