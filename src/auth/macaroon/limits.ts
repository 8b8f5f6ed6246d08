import {
  type BucketSize,
  fullBucket,
  refill,
  type TokenBucket,
  waitMs,
} from '../../admission/token-bucket.ts';
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { Clock } from '../../core/clock.ts';
import { type Refused, refuse } from '../../core/result.ts';
import type { Limit } from './grant.ts';

/** Buckets in use at a time, about 200 bytes each. One that is used again and again is never the one that goes. */
const maxBuckets = 16_384;

/** Capabilities with a number of uses at a time, about 150 bytes each. Forgetting one would give it all uses again. */
const maxCounted = 65_536;
/** The holder of one capability can make any number of others with uses of their own, which then last as long as it does. */
const maxCountedOfTenant = 8_192;
/** Expired ones are looked for at most so often: going through all takes some milliseconds. */
const lookEveryMs = 1_000;

interface Counted {
  count: number;
  readonly tenant: string;
  readonly expiresAtMs: number;
}

/** The uses of capabilities since this process began. */
export class LimitCounters {
  readonly #clock: Clock;
  readonly #buckets = new BoundedCache<string, TokenBucket>(maxBuckets);
  readonly #uses = new Map<string, Counted>();
  readonly #usesOf = new Map<string, number>();
  #lookAgainAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A bucket holds a second's worth. More may be taken than it holds: the debt is waited for. */
  take({ kind, count, name }: Limit, wanted: number): Refused | undefined {
    const size: BucketSize = { capacity: count, tokensPerMs: count / 1_000 };
    const nowMs = this.#clock.monotonicMs();
    const key = `${kind} ${name}`;
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = fullBucket(size, nowMs);
      this.#buckets.set(key, bucket);
    }
    refill(bucket, size, nowMs);
    const wait = waitMs(bucket, size, 1);
    if (wait > 0) return refuse('RateLimited', 'the capability sets this limit', wait);
    bucket.tokens -= wanted;
    return undefined;
  }

  /** Counts uses until the capability expires, or refuses and counts none. */
  use({ count, name }: Limit, items: number, expiresAtMs: number, tenant: string): Refused | undefined {
    const used = this.#uses.get(name);
    if ((used?.count ?? 0) + items > count) return usedUp;
    if (used !== undefined) {
      used.count += items;
      return undefined;
    }
    if (this.#isFull(tenant)) this.#forgetExpired();
    if (this.#isFull(tenant)) return tooManyCounted;
    this.#uses.set(name, { count: items, tenant, expiresAtMs });
    this.#usesOf.set(tenant, (this.#usesOf.get(tenant) ?? 0) + 1);
    return undefined;
  }

  #isFull(tenant: string): boolean {
    return this.#uses.size >= maxCounted || (this.#usesOf.get(tenant) ?? 0) >= maxCountedOfTenant;
  }

  #forgetExpired(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#lookAgainAtMs) return;
    this.#lookAgainAtMs = nowMs + lookEveryMs;
    const utcMs = this.#clock.utcMs();
    for (const [name, { tenant, expiresAtMs }] of this.#uses) {
      if (expiresAtMs >= utcMs) continue;
      this.#uses.delete(name);
      const left = (this.#usesOf.get(tenant) ?? 1) - 1;
      if (left === 0) this.#usesOf.delete(tenant);
      else this.#usesOf.set(tenant, left);
    }
  }
}

export const usedUp = refuse('NoCapability', 'the capability has no uses left; ask for a new one');
const tooManyCounted = refuse('RateLimited', 'too many capabilities with a number of uses', 60_000);
