/**
 * Every way in which a call can fail: one line each. Clients program against the codes, so the table is closed:
 * a retired code is never used again. The words are all that a client is told; causes go to the operator's log. `hint` is
 * what to do next where the place of the refusal has no better one.
 */
export const failures = {
  BadRequest: {
    status: 400,
    retryable: false,
    message: 'the request is not valid',
    hint: 'compare the request with the documentation',
  },
  Unsupported: {
    status: 400,
    retryable: false,
    message: 'not supported',
    hint: 'GET /version and the documentation say what is there',
  },
  ClockSkew: {
    status: 400,
    retryable: false,
    message: 'time is outside the tolerated skew',
    hint: 'set the clock by NTP',
  },
  Unauthenticated: {
    status: 401,
    retryable: false,
    message: 'a valid capability is required',
    hint: 'send Authorization: Bearer <capability>',
  },
  NoCapability: {
    status: 403,
    retryable: false,
    message: 'the capability does not permit this',
    hint: 'ask for a capability with the scope that this needs',
  },
  PolicyViolation: {
    status: 403,
    retryable: false,
    message: 'policy forbids this',
    hint: 'ask the operator which algorithms are allowed',
  },
  ExportForbidden: {
    status: 403,
    retryable: false,
    message: 'private keys are never exported',
    hint: 'public keys: GET /v1/kms/keys/{kid}',
  },
  AttestationMissing: {
    status: 403,
    retryable: false,
    message: 'required attestation is missing',
    hint: 'use a key whose residence can be attested',
  },
  NotFound: {
    status: 404,
    retryable: false,
    message: 'not found',
    hint: 'check the kid, and the tenant of the capability',
  },
  MethodNotAllowed: {
    status: 405,
    retryable: false,
    message: 'the method is not allowed here',
    hint: 'the Allow header says which methods are',
  },
  SlowBody: {
    status: 408,
    retryable: true,
    message: 'the body took too long to arrive',
    hint: 'send all of it within 5 s',
  },
  Conflict: {
    status: 409,
    retryable: false,
    message: 'conflicts with the current state',
    hint: 'read the key and try again',
  },
  LengthRequired: {
    status: 411,
    retryable: false,
    message: 'no Transfer-Encoding is accepted',
    hint: 'send the body with a Content-Length',
  },
  TooLarge: {
    status: 413,
    retryable: false,
    message: 'the request is too large',
    hint: 'send less, or several requests',
  },
  UnsupportedEncoding: {
    status: 415,
    retryable: false,
    message: 'content encodings are not accepted',
    hint: 'send the body as it is',
  },
  HeadersTooLarge: {
    status: 431,
    retryable: false,
    message: 'the headers are too large',
    hint: 'send at most 8 KiB of headers',
  },
  Backpressure: {
    status: 429,
    retryable: true,
    message: 'the queue is full',
    hint: 'try again after the time given',
  },
  RateLimited: {
    status: 429,
    retryable: true,
    message: 'the rate limit is reached',
    hint: 'try again after the time given',
  },
  AddressLimited: {
    status: 429,
    retryable: true,
    message: 'too many requests of this address were refused',
    hint: 'try again after the time given',
  },
  Internal: {
    status: 500,
    retryable: false,
    message: 'internal error',
    hint: 'report the request_id to the operator',
  },
  StoreUnavailable: {
    status: 503,
    retryable: true,
    message: 'the key store is unavailable',
    hint: 'try again after the time given',
  },
  AuditUnavailable: {
    status: 503,
    retryable: true,
    message: 'the audit log is unavailable',
    hint: 'try again after the time given',
  },
  NotReady: {
    status: 503,
    retryable: true,
    message: 'the service is not ready',
    hint: 'try again after the time given',
  },
  Timeout: {
    status: 504,
    retryable: true,
    message: 'the deadline has passed',
    hint: 'try again, or with a longer X-Deadline-Ms',
  },
} as const satisfies Record<string, { status: number; retryable: boolean; message: string; hint: string }>;

export type FailureCode = keyof typeof failures;

/**
 * The code that clients see. The published surface has fewer names than we have kinds: a missing or invalid
 * capability is NoCapability with status 401, wrong methods and encodings are Unsupported with 405, 411 and 415, headers
 * are TooLarge with 431, a slow body is a Timeout with 408, and a limit of an address is RateLimited as well.
 */
const published: Partial<Record<FailureCode, FailureCode>> = {
  Unauthenticated: 'NoCapability',
  MethodNotAllowed: 'Unsupported',
  LengthRequired: 'Unsupported',
  UnsupportedEncoding: 'Unsupported',
  HeadersTooLarge: 'TooLarge',
  SlowBody: 'Timeout',
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
  /** For 429: more than can be done has been asked for a while, and no answer in haste is due. Not told to the caller. */
  readonly standing?: true;
  /** For 405: the methods that there are (RFC 9110 section 10.2.1). */
  readonly allow?: string;
}

export function failure(code: FailureCode, hint?: string, retryAfterMs?: number): Failure {
  // Spreading what may be undefined costs a microsecond, and these are made by the ten thousand under a flood.
  if (retryAfterMs === undefined) return hint === undefined ? { code } : { code, hint };
  return hint === undefined ? { code, retryAfterMs } : { code, hint, retryAfterMs };
}

/** What a client is told of a failure, without the facts of the single answer (time, request id). */
export interface PublicFailure {
  readonly code: FailureCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly hint: string;
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
  const { message, retryable, hint: usualHint } = failures[code];
  const retryAfterMs = failure.retryAfterMs ?? usualRetryAfterMs[code];
  const told = { code: publicCode(code), message, retryable, hint: hint ?? usualHint };
  return retryAfterMs === undefined ? told : { ...told, retry_after_ms: Math.ceil(retryAfterMs) };
}
