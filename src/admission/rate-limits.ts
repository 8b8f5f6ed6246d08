import {
  type BucketSize,
  fullBucket,
  refill,
  type TokenBucket,
  take,
  takeUpTo,
  waitMs,
  wholeTokens,
} from './token-bucket.ts';

/** `count` uses in `windowMs`; a bucket of that size, so that a burst of all of them at once is allowed. */
export interface RateWindow {
  readonly count: number;
  readonly windowMs: number;
}

interface Entry {
  readonly buckets: readonly TokenBucket[];
}

/**
 * Uses of each name (a tenant, a key, an address) within several windows at once. Buckets of names that stopped long
 * enough ago are full again, which is the same as none, and are forgotten.
 */
export class RateLimits {
  readonly #sizes: readonly BucketSize[];
  readonly #forgetAfterMs: number;
  readonly #maxNames: number;
  #recent = new Map<string, Entry>();
  #older = new Map<string, Entry>();
  #turnedAtMs = Number.NEGATIVE_INFINITY;

  /**
   * No windows: no limit. Names: with more than `maxNames` of them in use at a time, those that were used least
   * recently are forgotten, and start with full buckets.
   */
  constructor(windows: readonly RateWindow[], maxNames: number) {
    this.#sizes = windows.map(({ count, windowMs }) => ({ capacity: count, tokensPerMs: count / windowMs }));
    this.#forgetAfterMs = Math.max(0, ...windows.map(({ windowMs }) => windowMs));
    this.#maxNames = maxNames;
  }

  get unlimited(): boolean {
    return this.#sizes.length === 0;
  }

  /** Names that take memory now. */
  get names(): number {
    return this.#recent.size + this.#older.size;
  }

  /** Takes one use of every window: 0, or milliseconds until one is there in all of them, and nothing is taken. */
  take(name: string, nowMs: number): number {
    if (this.unlimited) return 0;
    const { buckets } = this.#entry(name, nowMs);
    let longestMs = 0;
    for (const [index, size] of this.#sizes.entries()) {
      const bucket = buckets[index] as TokenBucket;
      refill(bucket, size, nowMs);
      longestMs = Math.max(longestMs, waitMs(bucket, size, 1));
    }
    if (longestMs > 0) return longestMs;
    for (const [index, size] of this.#sizes.entries()) take(buckets[index] as TokenBucket, size, 1, nowMs);
    return 0;
  }

  /** True if no use is left now; takes nothing. */
  exhausted(name: string, nowMs: number): boolean {
    if (this.unlimited || !(this.#recent.has(name) || this.#older.has(name))) return false;
    const { buckets } = this.#entry(name, nowMs);
    return this.#sizes.some((size, index) => {
      const bucket = buckets[index] as TokenBucket;
      refill(bucket, size, nowMs);
      return wholeTokens(bucket) < 1;
    });
  }

  /** Takes up to `count` uses: how many, and if not all, milliseconds until the next one is there. */
  takeUpTo(
    name: string,
    count: number,
    nowMs: number,
  ): { readonly taken: number; readonly retryAfterMs: number } {
    if (this.unlimited) return { taken: count, retryAfterMs: 0 };
    const { buckets } = this.#entry(name, nowMs);
    let taken = count;
    for (const [index, size] of this.#sizes.entries()) {
      const bucket = buckets[index] as TokenBucket;
      refill(bucket, size, nowMs);
      taken = Math.min(taken, wholeTokens(bucket));
    }
    let retryAfterMs = 0;
    for (const [index, size] of this.#sizes.entries()) {
      const bucket = buckets[index] as TokenBucket;
      takeUpTo(bucket, size, taken, nowMs);
      if (taken < count) retryAfterMs = Math.max(retryAfterMs, waitMs(bucket, size, 1));
    }
    return { taken, retryAfterMs };
  }

  /** Gives back uses that were taken for what was then not done. No bucket holds more than its size for it. */
  giveBack(name: string, count: number): void {
    if (this.unlimited || count <= 0) return;
    // A name that was forgotten has full buckets.
    const entry = this.#recent.get(name) ?? this.#older.get(name);
    if (entry === undefined) return;
    for (const [index, { capacity }] of this.#sizes.entries()) {
      const bucket = entry.buckets[index] as TokenBucket;
      bucket.tokens = Math.min(capacity, bucket.tokens + count);
    }
  }

  /** Two generations: a name that is used moves to the recent one; the older one is dropped as a whole. */
  #entry(name: string, nowMs: number): Entry {
    // After a step back of the clock names are kept longer than needed, never shorter.
    if (nowMs < this.#turnedAtMs) this.#turnedAtMs = nowMs;
    if (this.#recent.size >= this.#maxNames || nowMs - this.#turnedAtMs >= this.#forgetAfterMs) {
      this.#older = this.#recent;
      this.#recent = new Map();
      this.#turnedAtMs = nowMs;
    }
    const known = this.#recent.get(name);
    if (known !== undefined) return known;
    const entry = this.#older.get(name) ?? { buckets: this.#sizes.map((size) => fullBucket(size, nowMs)) };
    this.#older.delete(name);
    this.#recent.set(name, entry);
    return entry;
  }
}
