import { Counter } from 'prom-client';
import type { Metrics } from '../metrics.ts';

/** Counts evidence that was made, or could not be. Names of backends are the operator's, and few. */
export function createAttestMetrics({
  registry,
}: Pick<Metrics, 'registry'>): (backend: string, done: boolean) => void {
  const counter = new Counter({
    name: 'kms_attest_total',
    help: 'Evidence of where keys are, by backend: ok, or error where there was none',
    labelNames: ['backend', 'result'],
    registers: [registry],
  });
  return (backend, done) => counter.inc({ backend, result: done ? 'ok' : 'error' });
}
