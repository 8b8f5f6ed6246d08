/**
 * The work that may wait where a queue stands, as a multiple of the target. Calls may come in bunches that are further apart than
 * the target is long: then workers run dry although calls were refused a moment ago, and more is to wait.
 */
export interface TargetStretch {
  at(nowMs: number): number;
  /** A worker had nothing to do, soon after calls were refused because too many waited. */
  ranDry(nowMs: number): void;
}

/** A worker that runs dry says little about how much was missing. */
const step = 1.25;

/** Twice 5 ms are 10: beyond that throughput would be bought with what the target is for. */
const most = 2;

/** Goes back as slowly as bunches may come: twice in a second. */
const memoryMs = 500;

export function createTargetStretch(): TargetStretch {
  let beyond = 0;
  let sinceMs = 0;
  const at = (nowMs: number): number => {
    beyond *= Math.exp(-Math.max(0, nowMs - sinceMs) / memoryMs);
    sinceMs = nowMs;
    return 1 + beyond;
  };
  return {
    at,
    ranDry(nowMs) {
      beyond = Math.min(most, at(nowMs) * step) - 1;
    },
  };
}
