/**
 * The work that is to lie ready at each worker: as much as it does until the main thread looks at its results again and
 * sends more. A turn of the event loop that reads hundreds of sockets takes longer than a job, and a worker without a
 * further one would idle for the rest of it.
 */
export interface ReadyWork {
  /** Microseconds of cost for each worker, with the job that it does. */
  readonly wantedUs: number;
  /** A job's results lay so long until the main thread came to them. */
  noticed(lagMs: number, nowMs: number): void;
}

/** A quarter more than the longest lag of late: turns differ. */
const margin = 1.25;

/** Turns of one overload are alike, and take some milliseconds; a single pause is soon forgotten. */
const memoryMs = 25;

/**
 * `leastUs`: where the main thread comes at once. `mostUs`: what lies ready waits, so it is bounded as waiting is; a longer
 * turn is a pause that no queue covers.
 */
export function createReadyWork(leastUs: number, mostUs: number): ReadyWork {
  let longestMs = 0;
  let atMs = 0;
  return {
    get wantedUs() {
      return Math.max(leastUs, Math.min(mostUs, longestMs * margin * 1_000));
    },
    noticed(lagMs, nowMs) {
      const fadedMs = longestMs * Math.exp(-Math.max(0, nowMs - atMs) / memoryMs);
      atMs = nowMs;
      longestMs = Math.max(lagMs, fadedMs);
    },
  };
}
