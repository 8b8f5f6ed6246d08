import type { FailureCode } from '../../core/failure.ts';

/** Status codes of gRPC (google.rpc.Code), for every kind of refusal. */
export const grpcCodeOf: Readonly<Record<FailureCode, number>> = {
  BadRequest: 3,
  Unsupported: 3,
  ClockSkew: 3,
  LengthRequired: 3,
  UnsupportedEncoding: 3,
  HeadersTooLarge: 3,
  Timeout: 4,
  SlowBody: 4,
  NotFound: 5,
  NoCapability: 7,
  PolicyViolation: 7,
  ExportForbidden: 7,
  AttestationMissing: 7,
  TooLarge: 8,
  Backpressure: 8,
  RateLimited: 8,
  AddressLimited: 8,
  Conflict: 9,
  MethodNotAllowed: 12,
  Internal: 13,
  StoreUnavailable: 14,
  AuditUnavailable: 14,
  NotReady: 14,
  Unauthenticated: 16,
};
