/** Time as the service sees it; injected, so that tests and the simulator set it. */
export interface Clock {
  /** Milliseconds that never go back, with fractions; origin arbitrary. For deadlines, waits, rates. */
  monotonicMs(): number;
  /** UTC, milliseconds since 1970. For stamps and validity windows only. */
  utcMs(): number;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  utcMs: () => Date.now(),
};

/** By process.hrtime, which has one origin in all threads (performance.now has one for each). */
export function hrtimeMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}
