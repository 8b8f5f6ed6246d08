/**
 * A token bucket (RFC 2697 terms: a committed rate and a burst), as plain state. It starts full. Time is handed in and
 * may be of any origin; a step back neither adds tokens nor stops the refill: it counts from the earlier time on.
 */
export interface TokenBucket {
  tokens: number;
  atMs: number;
}

export interface BucketSize {
  readonly capacity: number;
  readonly tokensPerMs: number;
}

/** Refills add up fractions, so that ten tenths may come to a little less than one. */
const roundingTokens = 1e-6;

export function fullBucket(size: BucketSize, nowMs: number): TokenBucket {
  return { tokens: size.capacity, atMs: nowMs };
}

/** Takes `count` tokens if they are all there. Otherwise takes none and says in how many milliseconds they will be. */
export function take(bucket: TokenBucket, size: BucketSize, count: number, nowMs: number): number {
  refill(bucket, size, nowMs);
  if (bucket.tokens + roundingTokens >= count) {
    bucket.tokens -= count;
    return 0;
  }
  return waitMs(bucket, size, count);
}

/** As many of `count` tokens as there are, whole ones. */
export function takeUpTo(bucket: TokenBucket, size: BucketSize, count: number, nowMs: number): number {
  refill(bucket, size, nowMs);
  const taken = Math.min(count, wholeTokens(bucket));
  bucket.tokens -= taken;
  return taken;
}

/** Milliseconds until `count` tokens (or, if it never holds so many, a full bucket) are there; as of the last refill. */
export function waitMs(bucket: TokenBucket, size: BucketSize, count: number): number {
  const missing = Math.min(count, size.capacity) - bucket.tokens;
  return missing <= roundingTokens
    ? 0
    : Math.max(1, Math.ceil((missing - roundingTokens) / size.tokensPerMs));
}

export function wholeTokens(bucket: TokenBucket): number {
  return Math.floor(bucket.tokens + roundingTokens);
}

export function refill(bucket: TokenBucket, size: BucketSize, nowMs: number): void {
  const elapsedMs = nowMs - bucket.atMs;
  bucket.atMs = nowMs;
  if (elapsedMs > 0) bucket.tokens = Math.min(size.capacity, bucket.tokens + elapsedMs * size.tokensPerMs);
}
