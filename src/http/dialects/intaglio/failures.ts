import { type Failure, type FailureCode, failures, retryAfterMsOf } from '../../../core/failure.ts';
import type { FailureFacts, PresentedFailure } from '../../dialect.ts';

interface Spoken {
  readonly status: number;
  /** The published code, where it is not the kind's own name. */
  readonly code?: FailureCode;
  /** The next step of a client, where the place of the refusal has no better one. */
  readonly hint: string;
}

/**
 * A line for every kind. The published surface has fewer codes than we have kinds: a missing or invalid capability is
 * NoCapability with status 401, wrong methods and encodings are Unsupported with 405, 411 and 415, headers are TooLarge with
 * 431, a slow body is a Timeout with 408, and a limit of an address is RateLimited as well.
 */
export const spoken: Readonly<Record<FailureCode, Spoken>> = {
  BadRequest: { status: 400, hint: 'compare the request with the documentation' },
  Unsupported: { status: 400, hint: 'GET /version and the documentation say what is there' },
  ClockSkew: { status: 400, hint: 'set the clock by NTP' },
  Unauthenticated: { status: 401, code: 'NoCapability', hint: 'send Authorization: Bearer <capability>' },
  NoCapability: { status: 403, hint: 'ask for a capability with the scope that this needs' },
  PolicyViolation: { status: 403, hint: 'ask the operator which algorithms are allowed' },
  ExportForbidden: { status: 403, hint: 'public keys: GET /v1/kms/keys/{kid}' },
  AttestationMissing: { status: 403, hint: 'use a key whose residence can be attested' },
  NotFound: { status: 404, hint: 'check the kid, and the tenant of the capability' },
  MethodNotAllowed: { status: 405, code: 'Unsupported', hint: 'the Allow header says which methods are' },
  SlowBody: { status: 408, code: 'Timeout', hint: 'send all of it within 5 s' },
  Conflict: { status: 409, hint: 'read the key and try again' },
  LengthRequired: { status: 411, code: 'Unsupported', hint: 'send the body with a Content-Length' },
  TooLarge: { status: 413, hint: 'send less, or several requests' },
  UnsupportedEncoding: { status: 415, code: 'Unsupported', hint: 'send the body as it is' },
  HeadersTooLarge: { status: 431, code: 'TooLarge', hint: 'send at most 8 KiB of headers' },
  Backpressure: { status: 429, hint: 'try again after the time given' },
  RateLimited: { status: 429, hint: 'try again after the time given' },
  AddressLimited: { status: 429, code: 'RateLimited', hint: 'try again after the time given' },
  Internal: { status: 500, hint: 'report the request_id to the operator' },
  StoreUnavailable: { status: 503, hint: 'try again after the time given' },
  AuditUnavailable: { status: 503, hint: 'try again after the time given' },
  NotReady: { status: 503, hint: 'try again after the time given' },
  Timeout: { status: 504, hint: 'try again, or with a longer X-Deadline-Ms' },
};

export function publicCode(code: FailureCode): FailureCode {
  return spoken[code].code ?? code;
}

/** A failure as a client is told of it, without the facts of the single answer (time, request id). */
export interface PublicFailure {
  readonly code: FailureCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly hint: string;
  readonly retry_after_ms?: number;
}

/** `hint`: what the route says where the failure itself says nothing. */
export function presentFailure(failure: Failure, hint?: string): PublicFailure {
  const { code } = failure;
  const { message, retryable } = failures[code];
  const retryAfterMs = retryAfterMsOf(failure);
  const told = {
    code: publicCode(code),
    message,
    retryable,
    hint: failure.hint ?? hint ?? spoken[code].hint,
  };
  return retryAfterMs === undefined ? told : { ...told, retry_after_ms: Math.ceil(retryAfterMs) };
}

const challenge = 'Bearer realm="intaglio"';

/** The error envelope. */
export function presentError(failure: Failure, { hint, ts, requestId }: FailureFacts): PresentedFailure {
  const { status } = spoken[failure.code];
  const body = { error: { ...presentFailure(failure, hint), ts, request_id: requestId } };
  return status === 401 ? { status, body, challenge } : { status, body };
}
