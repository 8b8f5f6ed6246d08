/** Answers with these kinds say it where nobody knows better: long enough to spare us, short enough for a caller. */
const usualRetryAfterMs = 1_000;

/**
 * Every kind of refusal: one line each. Clients program against them through their dialect, so the table is closed: a retired
 * kind is never used again. The words are all that a client is told; causes go to the operator's log.
 */
export const failures = {
  BadRequest: { retryable: false, message: 'the request is not valid' },
  Unsupported: { retryable: false, message: 'not supported' },
  ClockSkew: { retryable: false, message: 'time is outside the tolerated skew' },
  Unauthenticated: { retryable: false, message: 'a valid capability is required' },
  NoCapability: { retryable: false, message: 'the capability does not permit this' },
  PolicyViolation: { retryable: false, message: 'policy forbids this' },
  ExportForbidden: { retryable: false, message: 'private keys are never exported' },
  AttestationMissing: { retryable: false, message: 'required attestation is missing' },
  NotFound: { retryable: false, message: 'not found' },
  MethodNotAllowed: { retryable: false, message: 'the method is not allowed here' },
  SlowBody: { retryable: true, message: 'the body took too long to arrive' },
  Conflict: { retryable: false, message: 'conflicts with the current state' },
  LengthRequired: { retryable: false, message: 'no Transfer-Encoding is accepted' },
  TooLarge: { retryable: false, message: 'the request is too large' },
  UnsupportedEncoding: { retryable: false, message: 'content encodings are not accepted' },
  HeadersTooLarge: { retryable: false, message: 'the headers are too large' },
  Backpressure: { retryable: true, message: 'the queue is full', usualRetryAfterMs },
  RateLimited: { retryable: true, message: 'the rate limit is reached', usualRetryAfterMs },
  AddressLimited: { retryable: true, message: 'too many requests of this address were refused' },
  Internal: { retryable: false, message: 'internal error', perhapsDone: true },
  StoreUnavailable: {
    retryable: true,
    message: 'the key store is unavailable',
    perhapsDone: true,
    usualRetryAfterMs,
  },
  AuditUnavailable: {
    retryable: true,
    message: 'the audit log is unavailable',
    perhapsDone: true,
    usualRetryAfterMs,
  },
  NotReady: { retryable: true, message: 'the service is not ready', perhapsDone: true, usualRetryAfterMs },
  Timeout: { retryable: true, message: 'the deadline has passed', perhapsDone: true },
} as const satisfies Readonly<Record<string, FailureFacts>>;

interface FailureFacts {
  /** The same call may succeed later. */
  readonly retryable: boolean;
  readonly message: string;
  /** The service failed, and not the caller: what was asked may have been done all the same, or in part. */
  readonly perhapsDone?: true;
  readonly usualRetryAfterMs?: number;
}

export type FailureCode = keyof typeof failures;

/** A refusal. `hint` tells the caller what to do next; it is a fixed text and never carries input or a cause. */
export interface Failure {
  readonly code: FailureCode;
  readonly hint?: string;
  /** For refusals that pass: when a retry is worth while, in milliseconds from now. */
  readonly retryAfterMs?: number;
  /** For 429: more than can be done has been asked for a while, and no answer in haste is due. Not told to the caller. */
  readonly standing?: true;
  /** For MethodNotAllowed: the methods that there are (RFC 9110 section 10.2.1). */
  readonly allow?: string;
  /** The reason under which metrics count it, also as one item of a batch; otherwise its kind's. */
  readonly countedAs?: 'pq_policy' | 'clock_skew';
  /** The part of the request that is at fault, for surfaces that tell these apart: nothing is at its path, or its body has another shape. */
  readonly fault?: 'path' | 'shape';
  /** For Conflict: the state of the key that stands against the call. `inactive`: archived, replaced or past its end. */
  readonly keyState?: 'destroyed' | 'inactive';
}

export function failure(code: FailureCode, hint?: string, retryAfterMs?: number): Failure {
  // Spreading what may be undefined costs a microsecond, and these are made by the ten thousand under a flood.
  if (retryAfterMs === undefined) return hint === undefined ? { code } : { code, hint };
  return hint === undefined ? { code, retryAfterMs } : { code, hint, retryAfterMs };
}

/** In milliseconds; undefined where a retry has no time. */
export function retryAfterMsOf({ code, retryAfterMs }: Failure): number | undefined {
  return retryAfterMs ?? usualRetries[code];
}

export function isPerhapsDone(code: FailureCode): boolean {
  return (failures[code] as FailureFacts).perhapsDone === true;
}

const usualRetries: Partial<Record<FailureCode, number>> = Object.fromEntries(
  Object.entries<FailureFacts>(failures).map(([code, facts]) => [code, facts.usualRetryAfterMs]),
);
