import type { Clock } from '../core/clock.ts';
import { type Refused, refuse } from '../core/result.ts';
import type { Counted, DurableCounts, Taken } from '../store/durable-counts.ts';

/** A work, as far as uses of its keys are limited. */
export interface LimitedWork {
  readonly uses: readonly { readonly keyId: string }[];
  /** The version that encrypts, and how often one may: where its nonces are random and would repeat. */
  readonly encryption?: { readonly kid: string; readonly most: number } | undefined;
  /** A limit of the key's own on what is made with it: uses in a day of UTC, counted apart from all others. */
  readonly daily?: { readonly keyId: string; readonly most: number } | undefined;
  /** Set here: what was counted of a day, and can be given back. */
  counted?: readonly Counted[] | undefined;
}

export interface KeyUsesParts {
  readonly counts: Pick<DurableCounts, 'take' | 'giveBack'>;
  readonly clock: Clock;
  /** Uses of one key in a day of UTC; Infinity is no limit. */
  readonly perDay: number;
}

type Outcome = Refused | undefined;

const dayMs = 86_400_000;
const full = refuse('Conflict', 'rotate: this version has encrypted as often as one may');

/**
 * Uses of keys within their limits, durably: never more than a limit, over restarts and kill -9 too. A day is that of UTC. What
 * is used without a limit is not counted, and all limits of a key share one count.
 */
export class KeyUses {
  readonly #parts: KeyUsesParts;

  constructor(parts: KeyUsesParts) {
    this.#parts = parts;
  }

  /**
   * One use of each of the work's keys, and one encryption, or of none where one of them may not. `policyPerDay`: what policy
   * leaves of a key in a day. Without a promise where nothing is limited, and mostly where something is.
   */
  take(work: LimitedWork, policyPerDay?: (keyId: string) => number): Outcome | Promise<Outcome> {
    const { perDay, clock } = this.#parts;
    const { encryption } = work;
    const days: Counted[] = [];
    if (perDay !== Number.POSITIVE_INFINITY || policyPerDay !== undefined) {
      const period = Math.floor(clock.utcMs() / dayMs);
      for (const { keyId } of work.uses) {
        const most = Math.min(perDay, policyPerDay?.(keyId) ?? perDay);
        if (most !== Number.POSITIVE_INFINITY) days.push({ name: `day/${keyId}`, period, most });
      }
    }
    if (work.daily !== undefined) days.push(dailyOf(work.daily, Math.floor(clock.utcMs() / dayMs)));
    if (days.length === 0 && encryption === undefined) return undefined;
    work.counted = days;
    const wanted = encryption === undefined ? days : [...days, encryptionOf(encryption)];
    return this.#takeFrom(wanted, 0);
  }

  /** Uses that were permitted and not begun. An encryption stays counted: too many harm nobody. */
  giveBack(work: LimitedWork): void {
    for (const counted of work.counted ?? []) this.#parts.counts.giveBack(counted);
    work.counted = undefined;
  }

  #takeFrom(wanted: readonly Counted[], first: number): Outcome | Promise<Outcome> {
    for (let n = first; n < wanted.length; n++) {
      const taken = this.#parts.counts.take(wanted[n] as Counted);
      if (taken instanceof Promise)
        return taken.then((later) => this.#refusal(wanted, n, later) ?? this.#takeFrom(wanted, n + 1));
      const refused = this.#refusal(wanted, n, taken);
      if (refused !== undefined) return refused;
    }
    return undefined;
  }

  /** Gives back what came before it. */
  #refusal(wanted: readonly Counted[], index: number, taken: Taken): Outcome {
    if (taken === 'taken') return undefined;
    for (const counted of wanted.slice(0, index)) this.#parts.counts.giveBack(counted);
    if (taken !== 'full') return taken;
    const { period } = wanted[index] as Counted;
    if (period === 0) return full;
    const { clock } = this.#parts;
    const waitMs = Math.max(1, (period + 1) * dayMs - clock.utcMs());
    return refuse('RateLimited', 'the usage limit of this key is reached', waitMs);
  }
}

/** A process that is killed has counted so many too many, at most. */
const maxDailyBlock = 100;

function dailyOf({ keyId, most }: NonNullable<LimitedWork['daily']>, period: number): Counted {
  return { name: `made/${keyId}`, period, most, maxBlock: maxDailyBlock };
}

function encryptionOf({ kid, most }: { readonly kid: string; readonly most: number }): Counted {
  return { name: `encrypted/${kid}`, period: 0, most };
}
