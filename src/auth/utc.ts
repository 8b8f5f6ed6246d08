// RFC 3339 in UTC with `Z`, and at most milliseconds.
const utcPattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z$/;

/** Milliseconds since 1970, or undefined. A day that its month has not is refused and not moved into the next one. */
export function parseUtc(text: string): number | undefined {
  if (!utcPattern.test(text)) return undefined;
  const utcMs = Date.parse(text);
  return Number.isNaN(utcMs) || formatUtc(utcMs).slice(0, 19) !== text.slice(0, 19) ? undefined : utcMs;
}

/** Empty, which no grammar takes, for a time that four digits of year cannot say. */
export function formatUtc(utcMs: number): string {
  const time = new Date(utcMs);
  return Number.isNaN(time.getTime()) ? '' : time.toISOString();
}
