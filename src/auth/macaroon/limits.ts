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

/** Capabilities with a number of uses at a time, about 100 bytes each. Forgetting one would give it all uses again. */
const maxCounted = 65_536;

/** The uses of capabilities since this process began. */
export class LimitCounters {
  readonly #clock: Clock;
  readonly #buckets = new BoundedCache<string, TokenBucket>(maxBuckets);
  readonly #uses = new Map<string, { count: number; readonly expiresAtMs: number }>();

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
  use({ count, name }: Limit, items: number, expiresAtMs: number): Refused | undefined {
    const used = this.#uses.get(name);
    if ((used?.count ?? 0) + items > count) return usedUp;
    if (used !== undefined) {
      used.count += items;
      return undefined;
    }
    if (this.#uses.size >= maxCounted) this.#forgetExpired();
    if (this.#uses.size >= maxCounted) return tooManyCounted;
    this.#uses.set(name, { count: items, expiresAtMs });
    return undefined;
  }

  #forgetExpired(): void {
    const nowMs = this.#clock.utcMs();
    for (const [name, { expiresAtMs }] of this.#uses) {
      if (expiresAtMs < nowMs) this.#uses.delete(name);
    }
  }
}

export const usedUp = refuse('NoCapability', 'the capability has no uses left; ask for a new one');
const tooManyCounted = refuse('RateLimited', 'too many capabilities with a number of uses', 60_000);
