/**
 * The cost of an operation, in microseconds of a worker: the registry's guess at first, then an exponentially weighted mean of
 * what workers measured, so that the price is right on any machine.
 */
export interface CostMeter {
  /** At least 1. */
  readonly costUs: number;
  observe(measuredUs: number): void;
}

/** One sample in sixteen: settles within some dozens of calls, and a single slow one moves the price by 6 %. */
const smoothing = 1 / 16;

/** A stall of the machine is not the price of a signature: one sample counts for at most this multiple of the mean. */
const outlierFactor = 8;

export function createCostMeter(initialUs: number): CostMeter {
  let meanUs = Math.max(1, initialUs);
  return {
    get costUs() {
      return meanUs;
    },
    observe(measuredUs) {
      const sampleUs = Math.min(measuredUs, meanUs * outlierFactor);
      meanUs = Math.max(1, meanUs + (sampleUs - meanUs) * smoothing);
    },
  };
}
