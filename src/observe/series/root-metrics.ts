import { Gauge } from 'prom-client';
import type { Metrics } from '../metrics.ts';

/** The root key, read at each scrape. `rotation`: records that were looked at, of all. */
export function registerRootMetrics(
  { registry }: Metrics,
  read: () => {
    readonly generation: number;
    readonly rotation: { readonly done: number; readonly total: number } | undefined;
  },
): void {
  const registers = [registry];
  new Gauge({
    name: 'kms_root_generation',
    help: 'Generation of the root key: 1, and one more with each rotation',
    registers,
    collect() {
      this.set(read().generation);
    },
  });
  new Gauge({
    name: 'kms_root_rotation_records',
    help: 'Records that a rotation of the root key under way has looked at, and all that there are; 0 where none is',
    labelNames: ['count'],
    registers,
    collect() {
      const { done = 0, total = 0 } = read().rotation ?? {};
      this.set({ count: 'done' }, done);
      this.set({ count: 'total' }, total);
    },
  });
}
