import { Counter, Gauge } from 'prom-client';
import type { Metrics } from '../metrics.ts';

/** What becomes of keys that are made before anyone asks for them. */
export interface PoolMetrics {
  made(): void;
  taken(): void;
  missed(): void;
}

/** `fill`: keys that lie ready; asked at each scrape. */
export function createPoolMetrics({ registry }: Pick<Metrics, 'registry'>, fill: () => number): PoolMetrics {
  const registers = [registry];
  const keys = new Counter({
    name: 'kms_rsa_pool_keys_total',
    help: 'RSA-2048 keys that were made for the pool (made), became keys (taken), or were asked for when it was empty (missed)',
    labelNames: ['what'],
    registers,
  });
  for (const what of ['made', 'taken', 'missed']) keys.inc({ what }, 0);
  new Gauge({
    name: 'kms_rsa_pool_ready',
    help: 'RSA-2048 keys that lie ready (KMS_RSA_POOL)',
    registers,
    collect() {
      this.set(fill());
    },
  });
  return {
    made: () => keys.inc({ what: 'made' }),
    taken: () => keys.inc({ what: 'taken' }),
    missed: () => keys.inc({ what: 'missed' }),
  };
}
