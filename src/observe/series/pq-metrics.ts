import { Gauge } from 'prom-client';
import { pqPhases } from '../../core/hybrid-mode.ts';
import type { Metrics } from '../metrics.ts';

/** The configured phase of the migration to post-quantum signatures, read at each scrape. */
export function gaugePqPolicy(
  { registry }: Metrics,
  read: () => { readonly phase: string; readonly rolloutPercent: number },
): void {
  new Gauge({
    name: 'kms_pq_mode',
    help: 'KMS_PQ_VERIFY_MODE: 1 at the phase that is configured, 0 at the others',
    labelNames: ['mode'],
    registers: [registry],
    collect() {
      const { phase } = read();
      for (const mode of ['none', ...pqPhases]) this.set({ mode }, mode === phase ? 1 : 0);
    },
  });
  new Gauge({
    name: 'kms_pq_rollout_percent',
    help: 'KMS_PQ_ROLLOUT_PERCENT: of the pairs of tenant and purpose, the part that follows the phase',
    registers: [registry],
    collect() {
      this.set(read().rolloutPercent);
    },
  });
}
