import { Gauge } from 'prom-client';
import type { Failure, FailureCode } from '../core/failure.ts';
import type { Metrics } from './metrics.ts';

/** The refusals that a listener makes by itself, and requests whose connection ended before their answer. */
export type ListenerRefusal =
  | 'framing'
  | 'too_many_connections'
  | 'too_many_of_address'
  | 'peer_not_allowed'
  | 'unanswered';

/** A refusal of the request path whose metric is not its kind's. */
export type CountedReason = NonNullable<Failure['countedAs']>;

/** The reasons of kms_reject_total: every code has one, so that no refusal and no 500 goes uncounted. */
const rejectReasons: Readonly<Record<ListenerRefusal | FailureCode | CountedReason, string>> = {
  Unauthenticated: 'unauth',
  NoCapability: 'scope',
  Backpressure: 'backpressure',
  RateLimited: 'rate',
  AddressLimited: 'address',
  TooLarge: 'too_large',
  LengthRequired: 'framing',
  HeadersTooLarge: 'headers_too_large',
  SlowBody: 'slow_body',
  UnsupportedEncoding: 'decompress_cap',
  PolicyViolation: 'policy',
  NotReady: 'not_ready',
  Timeout: 'deadline',
  BadRequest: 'bad_request',
  Unsupported: 'unsupported',
  ClockSkew: 'clock_skew',
  ExportForbidden: 'export',
  AttestationMissing: 'attest_missing',
  NotFound: 'not_found',
  MethodNotAllowed: 'method',
  Conflict: 'conflict',
  Internal: 'internal',
  StoreUnavailable: 'store_unavailable',
  AuditUnavailable: 'audit_unavailable',
  framing: 'framing',
  too_many_connections: 'too_many_connections',
  too_many_of_address: 'too_many_of_address',
  peer_not_allowed: 'peer_not_allowed',
  unanswered: 'unanswered',
  pq_policy: 'pq_policy',
  clock_skew: 'clock_skew',
};

/** As in kms_reject_total. */
export function reasonOf(why: ListenerRefusal | FailureCode | CountedReason): string {
  return rejectReasons[why];
}

export function countRefusal(metrics: Metrics, why: ListenerRefusal | FailureCode | CountedReason): void {
  if (why === 'Unauthenticated') metrics.authFailed();
  metrics.rejected(rejectReasons[why]);
}

/** Refusals that are answered late: see LateRefusals. */
export function gaugeHeldRefusals({ registry }: Metrics, held: () => number): void {
  new Gauge({
    name: 'kms_refusals_held',
    help: 'Refusals of tenants over their share that wait to be answered',
    registers: [registry],
    collect() {
      this.set(held());
    },
  });
}
