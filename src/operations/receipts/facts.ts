import type { Failure, FailureCode } from '../../core/failure.ts';
import type { Caller } from '../../core/scope.ts';
import type { ReceiptFacts } from '../operation.ts';

/** The facts of a call as its record keeps them: members of `data`. The module alone is always there, and tells such a record. */
export function receiptData(
  { environment, plane, keyId }: ReceiptFacts,
  caller: Caller,
): Readonly<Record<string, string>> {
  return {
    ...(environment === undefined ? undefined : { environment }),
    ...(keyId === undefined ? undefined : { key_id: keyId }),
    module: caller.placement?.module ?? caller.actor,
    ...(plane === undefined ? undefined : { plane }),
  };
}

/** Codes of refusals, as receipts and the surface that has them name them. */
export type ReceiptErrorCode =
  | 'INVALID_REQUEST'
  | 'UNAUTHENTICATED'
  | 'UNAUTHORIZED'
  | 'KEY_NOT_FOUND'
  | 'KEY_REVOKED'
  | 'KEY_INACTIVE'
  | 'POLICY_VIOLATION'
  | 'RATE_LIMITED'
  | 'DEPENDENCY_UNAVAILABLE'
  | 'INTERNAL_ERROR';

const codes: Readonly<Record<FailureCode, ReceiptErrorCode>> = {
  BadRequest: 'INVALID_REQUEST',
  Unsupported: 'INVALID_REQUEST',
  ClockSkew: 'INVALID_REQUEST',
  Unauthenticated: 'UNAUTHENTICATED',
  NoCapability: 'UNAUTHORIZED',
  PolicyViolation: 'POLICY_VIOLATION',
  ExportForbidden: 'POLICY_VIOLATION',
  AttestationMissing: 'POLICY_VIOLATION',
  NotFound: 'KEY_NOT_FOUND',
  MethodNotAllowed: 'INVALID_REQUEST',
  SlowBody: 'INVALID_REQUEST',
  Conflict: 'INVALID_REQUEST',
  LengthRequired: 'INVALID_REQUEST',
  TooLarge: 'INVALID_REQUEST',
  UnsupportedEncoding: 'INVALID_REQUEST',
  HeadersTooLarge: 'INVALID_REQUEST',
  Backpressure: 'RATE_LIMITED',
  RateLimited: 'RATE_LIMITED',
  AddressLimited: 'RATE_LIMITED',
  Internal: 'INTERNAL_ERROR',
  StoreUnavailable: 'DEPENDENCY_UNAVAILABLE',
  AuditUnavailable: 'DEPENDENCY_UNAVAILABLE',
  NotReady: 'DEPENDENCY_UNAVAILABLE',
  Timeout: 'DEPENDENCY_UNAVAILABLE',
};

/** `keyState`: of a Conflict that the state of a key is the reason of. */
export function receiptErrorCode({
  code,
  keyState,
}: Pick<Failure, 'code'> & { readonly keyState?: string | undefined }): ReceiptErrorCode {
  if (keyState === 'destroyed') return 'KEY_REVOKED';
  return keyState === 'inactive' ? 'KEY_INACTIVE' : codes[code];
}

/** The same of a record's result; undefined where it says no refusal. */
export function errorCodeOfResult(result: string): ReceiptErrorCode | undefined {
  const [kind, code = ''] = result.split(':');
  if (kind !== 'error' && kind !== 'denied') return undefined;
  return codes[code as FailureCode] ?? 'INTERNAL_ERROR';
}
