import type { Clock } from '../core/clock.ts';
import { type Refused, refuse } from '../core/result.ts';

/** The time for which a caller takes signatures as valid, in UTC milliseconds, both ends within. */
export interface ValidityWindow {
  readonly notBeforeMs: number | undefined;
  readonly notAfterMs: number | undefined;
}

/** The refusal of a window that now is outside of by more than clocks may differ. */
export function refusalOfWindow(
  window: ValidityWindow | undefined,
  {
    clock,
    timeSkewToleranceMs,
  }: { readonly clock: Pick<Clock, 'utcMs'>; readonly timeSkewToleranceMs: number },
): Refused | undefined {
  if (window === undefined) return undefined;
  const nowMs = clock.utcMs();
  const { notBeforeMs = Number.NEGATIVE_INFINITY, notAfterMs = Number.POSITIVE_INFINITY } = window;
  if (nowMs < notBeforeMs - timeSkewToleranceMs) return tooEarly;
  return nowMs > notAfterMs + timeSkewToleranceMs ? tooLate : undefined;
}

const tooEarly = skewed('policy.not_before is later than now');
const tooLate = skewed('policy.not_after is earlier than now');

function skewed(hint: string): Refused {
  const { failure } = refuse('ClockSkew', hint);
  return { ok: false, failure: { ...failure, countedAs: 'clock_skew' } };
}
