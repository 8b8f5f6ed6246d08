import { measured } from '../support/statistics.ts';

/**
 * Samples are about this long: most of them then pass without another process taking the core, so that their median is
 * the cost on a core of one's own also on a machine that is not quiet. (A thread's CPU clock is no help: between ticks
 * of the kernel it stands still.)
 */
const sampleMs = 1;
const leastSamples = 7;

/** Microseconds that one call of `work` takes. */
export function timeUs(work: () => void, windowMs: number): number {
  elapsedMs(work);
  const repeats = Math.max(1, Math.round(sampleMs / Math.min(elapsedMs(work), elapsedMs(work))));
  const endMs = performance.now() + windowMs;
  const times: number[] = [];
  while (times.length < leastSamples || performance.now() < endMs) {
    const took = elapsedMs(() => {
      for (let n = 0; n < repeats; n++) work();
    });
    times.push((took * 1000) / repeats);
  }
  return measured(times).median;
}

function elapsedMs(work: () => void): number {
  const before = performance.now();
  work();
  return performance.now() - before;
}
