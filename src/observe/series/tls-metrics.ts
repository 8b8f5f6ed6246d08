import { Counter, Gauge } from 'prom-client';
import type { Metrics } from '../metrics.ts';

/** Returns what counts a handshake that failed. `notAfterMs`: the end of the first certificate of the chain to expire, UTC. */
export function registerTlsMetrics({ registry }: Metrics, notAfterMs: () => number): () => void {
  const registers = [registry];
  new Gauge({
    name: 'tls_certificate_not_after_seconds',
    help: 'When the certificate of the https listeners expires, in seconds since 1970',
    registers,
    collect() {
      this.set(notAfterMs() / 1_000);
    },
  });
  const failures = new Counter({
    name: 'tls_handshake_failures_total',
    help: 'TLS connections that ended before their handshake was done, whoever gave up',
    registers,
  });
  return () => failures.inc();
}
