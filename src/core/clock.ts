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

// RFC 3339 section 5.6: full date and time, a fraction of at most nine digits, and Z or an offset.
const dateTime =
  /^(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))$/;

/**
 * Milliseconds since 1970 of a date-time of RFC 3339, or undefined. A day that its month has not is refused and not moved into the
 * next one; so is a leap second, which no clock here counts.
 */
export function parseRfc3339(text: string): number | undefined {
  const parts = dateTime.exec(text);
  if (parts === null) return undefined;
  const [, date, time, fraction = '', sign, hours, minutes] = parts;
  const localMs = Date.parse(`${date}T${time}Z`);
  if (Number.isNaN(localMs) || new Date(localMs).toISOString().slice(0, 19) !== `${date}T${time}`)
    return undefined;
  const offsetMs = sign === undefined ? 0 : (Number(hours) * 60 + Number(minutes)) * 60_000;
  return localMs + Number(fraction.padEnd(3, '0').slice(0, 3)) - (sign === '-' ? -offsetMs : offsetMs);
}

/** By process.hrtime, which has one origin in all threads (performance.now has one for each). */
export function hrtimeMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
}
