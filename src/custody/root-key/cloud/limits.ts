/** Bounds of one wrap or unwrap by a cloud KMS. */
export interface CloudLimits {
  readonly connectMs: number;
  /** Of one try, with its connection. */
  readonly attemptMs: number;
  /** The first try is one of them. */
  readonly attempts: number;
  /** All tries with their pauses, and the search for credentials. */
  readonly wholeMs: number;
}

/**
 * A KMS answers within tens of milliseconds. A connection takes three round trips, and a lost packet one second more. Three
 * tries after the first outlast the throttling of a burst: the pauses of AWS double from 1 s and are 7 s at most. A start waits
 * for a source for `wholeMs` at most, and takes the next one of the list then.
 */
export const cloudLimits: CloudLimits = { connectMs: 3_000, attemptMs: 5_000, attempts: 4, wholeMs: 20_000 };
