import { type Failure, type FailureCode, failures, retryAfterMsOf } from '../../../core/failure.ts';
import { type ReceiptErrorCode, receiptErrorCode } from '../../../operations/receipts/facts.ts';
import type { FailureFacts, PresentedFailure } from '../../dialect.ts';

/** The status of every kind, and the next step where the place of the refusal has no better one. */
export const statuses: Readonly<Record<FailureCode, readonly [status: number, hint: string]>> = {
  BadRequest: [400, 'compare the request with docs/kms-v1.md'],
  Unsupported: [400, 'the algorithms and key types that there are: GET /kms/v1/config'],
  ClockSkew: [400, 'set the clock by NTP'],
  Unauthenticated: [401, 'show a client certificate, a JSON Web Token or a capability'],
  NoCapability: [
    403,
    'ask for the tenant, environment and plane that you are of, with an approval where one is needed',
  ],
  PolicyViolation: [403, 'the access policy of the key, or the service’s own, says who may do this'],
  ExportForbidden: [403, 'no private or secret key leaves'],
  AttestationMissing: [403, 'use a key whose residence can be attested'],
  NotFound: [404, 'check the id, and the tenant, environment and plane'],
  MethodNotAllowed: [405, 'the Allow header says which methods are'],
  SlowBody: [408, 'send all of it within 5 s'],
  Conflict: [409, 'read the key and try again'],
  LengthRequired: [411, 'send the body with a Content-Length'],
  TooLarge: [413, 'send less'],
  UnsupportedEncoding: [415, 'send the body as it is'],
  HeadersTooLarge: [431, 'send at most 8 KiB of headers'],
  Backpressure: [429, 'try again after the time given'],
  RateLimited: [429, 'try again after the time given'],
  AddressLimited: [429, 'try again after the time given'],
  Internal: [500, 'report the request_id to the operator'],
  StoreUnavailable: [503, 'try again after the time given'],
  AuditUnavailable: [503, 'try again after the time given'],
  NotReady: [503, 'try again after the time given'],
  Timeout: [503, 'try again'],
};

/** Of a body of JSON that has another shape. */
const otherShapeStatus = 422;

/** The published code of a failure. Nothing at a path is no missing key. */
export function publishedCode(failure: Failure): ReceiptErrorCode {
  return failure.fault === 'path' ? 'INVALID_REQUEST' : receiptErrorCode(failure);
}

const challenge = 'Bearer realm="kms"';

/** The error envelope of this surface. `nested`: under `detail`, as FastAPI has it. */
export function presentEnvelope(
  failure: Failure,
  { hint, ts, requestId }: FailureFacts,
  nested: boolean,
): PresentedFailure {
  const [usual, usualHint] = statuses[failure.code];
  const status = failure.fault === 'shape' ? otherShapeStatus : usual;
  const { message, retryable } = failures[failure.code];
  const retryAfterMs = retryAfterMsOf(failure);
  const details = {
    reason: failure.code,
    hint: failure.hint ?? hint ?? usualHint,
    ...(retryAfterMs === undefined ? undefined : { retry_after_ms: Math.ceil(retryAfterMs) }),
    ...{ request_id: requestId, ts },
  };
  const envelope = { error: { code: publishedCode(failure), message, details, retryable } };
  const body = nested ? { detail: envelope } : envelope;
  return status === 401 ? { status, body, challenge } : { status, body };
}
