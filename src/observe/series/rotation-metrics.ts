import { Counter, Gauge } from 'prom-client';
import type { Metrics } from '../metrics.ts';

/** What the schedules of keys do. */
export interface RotationMetrics {
  /** `result` is `ok` or a failure code. */
  done(what: 'rotated' | 'pruned', result: string): void;
  /** Asked at each scrape. */
  scheduled(keys: () => number, overdue: () => number): void;
}

export function createRotationMetrics({ registry }: Pick<Metrics, 'registry'>): RotationMetrics {
  const registers = [registry];
  const done = new Counter({
    name: 'kms_scheduled_rotations_total',
    help: 'Versions that the schedules of keys replaced (rotated) and destroyed (pruned), by result',
    labelNames: ['what', 'result'],
    registers,
  });
  return {
    done: (what, result) => done.inc({ what, result }),
    scheduled(keys, overdue) {
      new Gauge({
        name: 'kms_scheduled_keys',
        help: 'Keys that have a schedule',
        registers,
        collect() {
          this.set(keys());
        },
      });
      new Gauge({
        name: 'kms_rotations_overdue',
        help: 'Keys whose current version should have been replaced by now',
        registers,
        collect() {
          this.set(overdue());
        },
      });
    },
  };
}
