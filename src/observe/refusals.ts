import { Gauge } from 'prom-client';
import type { FailureCode } from '../core/failure.ts';
import type { Metrics } from './metrics.ts';

/** What a listener refuses by itself, before there is a request to answer. */
export type ListenerRefusal = 'too_large' | 'framing' | 'slow_body' | 'too_many_connections';

/** The reasons of kms_reject_total: what was refused before any work was done for it. */
const rejectReasons: Partial<Record<ListenerRefusal | FailureCode, string>> = {
  Unauthenticated: 'unauth',
  NoCapability: 'scope',
  Backpressure: 'backpressure',
  RateLimited: 'rate',
  AddressLimited: 'address',
  TooLarge: 'too_large',
  UnsupportedEncoding: 'decompress_cap',
  PolicyViolation: 'policy',
  NotReady: 'not_ready',
  Timeout: 'deadline',
  BadRequest: 'bad_request',
  too_large: 'too_large',
  framing: 'framing',
  slow_body: 'slow_body',
  too_many_connections: 'too_many_connections',
};

export function countRefusal(metrics: Metrics, why: ListenerRefusal | FailureCode): void {
  if (why === 'Unauthenticated') metrics.authFailed();
  const reason = rejectReasons[why];
  if (reason !== undefined) metrics.rejected(reason);
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
