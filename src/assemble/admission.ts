import { Admission, type AdmissionOptions } from '../admission/admission.ts';
import type { RateWindow } from '../admission/rate-limits.ts';
import type { Config } from '../config/load.ts';
import type { Scope } from '../core/scope.ts';

/** Rates and deadlines as the configuration wants them. Counts of `before` go on where their limits are the same. */
export function createAdmission(config: Config, before?: Admission): Admission {
  const rates: Partial<Record<Scope, RateWindow[]>> = {};
  const add = (scope: Scope, count: number, windowMs: number) => {
    const windows = rates[scope] ?? [];
    rates[scope] = windows;
    windows.push({ count, windowMs });
  };
  if (config.signRateLimit > 0) add('kms:sign', config.signRateLimit, 1_000);
  if (config.destroyRateLimit > 0) add('kms:destroy', config.destroyRateLimit, 1_000);
  for (const { scope, count, windowMs } of config.rateLimits) add(scope, count, windowMs);
  const options = {
    rates,
    sharedRates: [{ scopes: ['kms:create', 'kms:rotate'], windows: makingWindows(config) }],
    defaultDeadlineMs: config.defaultDeadlineMs,
    batchDeadlineMs: config.signDeadlineMs,
    maxDeadlineMs: config.signDeadlineMs,
  } satisfies AdmissionOptions;
  return new Admission(options, before);
}

/** A bucket for ten seconds: whoever sets up a fleet makes many keys at once, and then few. */
function makingWindows({ createRateLimit }: Config): RateWindow[] {
  return createRateLimit === 0 ? [] : [{ count: 10 * createRateLimit, windowMs: 10_000 }];
}
