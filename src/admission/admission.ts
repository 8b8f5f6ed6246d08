import { failure } from '../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import type { Scope } from '../core/scope.ts';
import { RateLimits, type RateWindow } from './rate-limits.ts';

export interface AdmissionOptions {
  /** Uses of a scope by one tenant; a scope without windows is not limited. */
  readonly rates: Partial<Readonly<Record<Scope, readonly RateWindow[]>>>;
  /** Uses of several scopes together, beside those. */
  readonly sharedRates?: readonly {
    readonly scopes: readonly Scope[];
    readonly windows: readonly RateWindow[];
  }[];
  /** The time that a call may take if its caller does not say, in milliseconds. */
  readonly defaultDeadlineMs: number;
  /** The same for a call with many items. */
  readonly batchDeadlineMs: number;
  /** Longer wishes are cut to this. */
  readonly maxDeadlineMs: number;
}

/** Tenants with rates at a time: about 300 bytes each, so at most 20 MB. */
const maxNames = 65_536;

/**
 * The part of a deadline that is left for waiting and for the signature. Its record and its answer, and a worker that others'
 * threads interrupt, took up to 2 ms more under overload (p99), which short deadlines cannot spare.
 */
export function signedWithinMs(deadlineMs: number): number {
  return deadlineMs - Math.min(2, deadlineMs / 5);
}

/** A deadline is a wish for the next seconds; anything beyond this is a mistake in units. */
export const largestDeadlineMs = 60_000;

/**
 * Takes a call in or says why not, before its body is parsed: what is refused here has cost almost nothing. Pure but
 * for its counts; time is handed in.
 */
export class Admission {
  readonly #options: AdmissionOptions;
  /** All that hold for a scope; some hold for others too. */
  readonly #rates = new Map<Scope, readonly RateLimits[]>();
  /** The same by scopes and windows. */
  readonly #counts = new Map<string, RateLimits>();

  /** `before`: its counts go on where their windows are the same; others start anew. */
  constructor(options: AdmissionOptions, before?: Admission) {
    this.#options = options;
    for (const [scope, windows] of Object.entries(options.rates) as [Scope, readonly RateWindow[]][]) {
      this.#limit([scope], windows, before);
    }
    for (const { scopes, windows } of options.sharedRates ?? []) this.#limit(scopes, windows, before);
  }

  #countsOf(of: string, windows: readonly RateWindow[], before: Admission | undefined): RateLimits {
    const name = `${of} ${JSON.stringify(windows)}`;
    const known = before === undefined ? undefined : before.#counts.get(name);
    const counts = known ?? new RateLimits(windows, maxNames);
    this.#counts.set(name, counts);
    return counts;
  }

  #limit(scopes: readonly Scope[], windows: readonly RateWindow[], before: Admission | undefined): void {
    if (windows.length === 0) return;
    const limits = this.#countsOf(scopes.join(), windows, before);
    for (const scope of scopes) this.#rates.set(scope, [...(this.#rates.get(scope) ?? []), limits]);
  }

  /** The time that a call may take: what its caller wishes (`X-Deadline-Ms`), bounded, or the default. */
  deadlineMs(wish: string | undefined, batch: boolean): Result<number> {
    const { defaultDeadlineMs, batchDeadlineMs, maxDeadlineMs } = this.#options;
    if (wish === undefined) return ok(batch ? batchDeadlineMs : defaultDeadlineMs);
    const wishMs = /^[0-9]{1,5}$/.test(wish) ? Number(wish) : 0;
    if (wishMs < 1 || wishMs > largestDeadlineMs) {
      return refuse('BadRequest', `X-Deadline-Ms: 1 to ${largestDeadlineMs}`);
    }
    return ok(Math.min(wishMs, maxDeadlineMs));
  }

  /** One call, before anything is known of it but who asks what. */
  enter(tenant: string, scope: Scope, nowMs: number): Refused | undefined {
    const rates = this.#rates.get(scope);
    if (rates === undefined) return undefined;
    for (let n = 0; n < rates.length; n++) {
      const retryAfterMs = (rates[n] as RateLimits).take(tenant, nowMs);
      if (retryAfterMs === 0) continue;
      for (const before of rates.slice(0, n)) before.giveBack(tenant, 1);
      return rateLimited(retryAfterMs);
    }
    return undefined;
  }

  /** The further items of a batch, each counted as a call: how many may go on, and what the others are told. */
  enterMore(
    tenant: string,
    scope: Scope,
    count: number,
    nowMs: number,
  ): { readonly admitted: number; readonly refused: Refused | undefined } {
    const rates = this.#rates.get(scope);
    if (rates === undefined || count === 0) return { admitted: count, refused: undefined };
    let admitted = count;
    let longestMs = 0;
    for (let n = 0; n < rates.length; n++) {
      const { taken, retryAfterMs } = (rates[n] as RateLimits).takeUpTo(tenant, admitted, nowMs);
      for (const before of rates.slice(0, n)) before.giveBack(tenant, admitted - taken);
      admitted = taken;
      longestMs = Math.max(longestMs, retryAfterMs);
    }
    return { admitted, refused: admitted === count ? undefined : rateLimited(longestMs) };
  }

  /** Calls and items that came in and were then refused or never begun: a rate counts what it let through. */
  giveBack(tenant: string, scope: Scope, count: number): void {
    for (const rates of this.#rates.get(scope) ?? []) rates.giveBack(tenant, count);
  }
}

function rateLimited(retryAfterMs: number): Refused {
  return {
    ok: false,
    failure: failure('RateLimited', 'the rate limit of this tenant is reached', retryAfterMs),
  };
}
