/**
 * Every way in which a call can fail: one line each. Clients program against the codes, so the table is closed:
 * a retired code is never used again. The message is all that a client is told; causes go to the operator's log.
 */
export const failures = {
  BadRequest: { status: 400, retryable: false, message: 'the request is not valid' },
  Unsupported: { status: 400, retryable: false, message: 'not supported' },
  ClockSkew: { status: 400, retryable: false, message: 'time is outside the tolerated skew' },
  Unauthenticated: { status: 401, retryable: false, message: 'a valid capability is required' },
  NoCapability: { status: 403, retryable: false, message: 'the capability does not permit this' },
  PolicyViolation: { status: 403, retryable: false, message: 'policy forbids this' },
  ExportForbidden: { status: 403, retryable: false, message: 'private keys are never exported' },
  AttestationMissing: { status: 403, retryable: false, message: 'required attestation is missing' },
  NotFound: { status: 404, retryable: false, message: 'not found' },
  MethodNotAllowed: { status: 405, retryable: false, message: 'the method is not allowed here' },
  Conflict: { status: 409, retryable: false, message: 'conflicts with the current state' },
  TooLarge: { status: 413, retryable: false, message: 'the request is too large' },
  UnsupportedEncoding: { status: 415, retryable: false, message: 'content encodings are not accepted' },
  Backpressure: { status: 429, retryable: true, message: 'the queue is full' },
  RateLimited: { status: 429, retryable: true, message: 'the rate limit is reached' },
  AddressLimited: { status: 429, retryable: true, message: 'too many requests of this address were refused' },
  Internal: { status: 500, retryable: false, message: 'internal error' },
  StoreUnavailable: { status: 503, retryable: true, message: 'the key store is unavailable' },
  AuditUnavailable: { status: 503, retryable: true, message: 'the audit log is unavailable' },
  NotReady: { status: 503, retryable: true, message: 'the service is not ready' },
  Timeout: { status: 504, retryable: true, message: 'the deadline has passed' },
} as const satisfies Record<string, { status: number; retryable: boolean; message: string }>;

export type FailureCode = keyof typeof failures;

/**
 * The code that clients see. The published surface has fewer names than we have kinds: a missing or invalid
 * capability is NoCapability with status 401, wrong methods and encodings are Unsupported with 405 and 415, and a limit of
 * an address is RateLimited as well.
 */
const published: Partial<Record<FailureCode, FailureCode>> = {
  Unauthenticated: 'NoCapability',
  MethodNotAllowed: 'Unsupported',
  UnsupportedEncoding: 'Unsupported',
  AddressLimited: 'RateLimited',
};

export function publicCode(code: FailureCode): FailureCode {
  return published[code] ?? code;
}

/** A refusal. `hint` tells the caller what to do next; it is a fixed text and never carries input or a cause. */
export interface Failure {
  readonly code: FailureCode;
  readonly hint?: string;
  /** For 429 and 503: when a retry is worth while, in milliseconds from now. */
  readonly retryAfterMs?: number;
}

export function failure(code: FailureCode, hint?: string, retryAfterMs?: number): Failure {
  return {
    code,
    ...(hint === undefined ? undefined : { hint }),
    ...(retryAfterMs === undefined ? undefined : { retryAfterMs }),
  };
}

/** What a client is told of a failure, without the facts of the single answer (time, request id). */
export interface PublicFailure {
  readonly code: FailureCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly hint?: string;
  readonly retry_after_ms?: number;
}

/** What answers with 429 and 503 say where nobody knows better: long enough to spare us, short enough for a caller. */
const usualRetryAfterMs: Partial<Record<FailureCode, number>> = {
  Backpressure: 1_000,
  RateLimited: 1_000,
  StoreUnavailable: 1_000,
  AuditUnavailable: 1_000,
  NotReady: 1_000,
};

export function publicFailure(failure: Failure): PublicFailure {
  const { code, hint } = failure;
  const { message, retryable } = failures[code];
  const retryAfterMs = failure.retryAfterMs ?? usualRetryAfterMs[code];
  return {
    code: publicCode(code),
    message,
    retryable,
    ...(hint === undefined ? undefined : { hint }),
    ...(retryAfterMs === undefined ? undefined : { retry_after_ms: Math.ceil(retryAfterMs) }),
  };
}
