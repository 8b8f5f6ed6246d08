import { type Failure, type FailureCode, failures, retryAfterMsOf } from '../../../core/failure.ts';
import type { FailureFacts, PresentedFailure } from '../../dialect.ts';

/** A line for every kind. Names of codes are those of the canonical surface. */
export const statusOf: Readonly<Record<FailureCode, number>> = {
  BadRequest: 400,
  Unsupported: 400,
  ClockSkew: 400,
  Unauthenticated: 401,
  NoCapability: 403,
  PolicyViolation: 403,
  ExportForbidden: 403,
  AttestationMissing: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  SlowBody: 408,
  Conflict: 409,
  LengthRequired: 411,
  TooLarge: 413,
  UnsupportedEncoding: 415,
  HeadersTooLarge: 431,
  Backpressure: 429,
  RateLimited: 429,
  AddressLimited: 429,
  Internal: 500,
  StoreUnavailable: 503,
  AuditUnavailable: 503,
  NotReady: 503,
  Timeout: 504,
};

/** Words for callers who have a user id and roles, where others have a capability. */
const ownMessages: Partial<Record<FailureCode, string>> = {
  Unauthenticated: 'neither a user of allowed_uids nor a valid capability',
  NoCapability: "the caller's roles, or its capability, do not permit this",
};

/** `{error, code, request_id}`, and `retry_after_ms` where a retry is worth while. */
export function presentDekError(failure: Failure, { hint, requestId }: FailureFacts): PresentedFailure {
  const { code } = failure;
  const more = failure.hint ?? hint;
  const message = ownMessages[code] ?? failures[code].message;
  const retryAfterMs = retryAfterMsOf(failure);
  return {
    status: statusOf[code],
    body: {
      error: more === undefined ? message : `${message}: ${more}`,
      ...{ code, request_id: requestId },
      ...(retryAfterMs === undefined ? undefined : { retry_after_ms: Math.ceil(retryAfterMs) }),
    },
    ...(code === 'Unauthenticated' ? { challenge: 'Bearer realm="intaglio-dek"' } : undefined),
  };
}
