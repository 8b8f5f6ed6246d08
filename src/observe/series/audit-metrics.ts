import { Counter, Gauge } from 'prom-client';
import type { Metrics } from '../metrics.ts';

/** The facts that every scrape reads of the audit log (`AuditLog` has this shape). */
interface Observed {
  readonly state: string;
  stats(): {
    readonly appended: number;
    readonly refused: number;
    readonly waiting: number;
    readonly reservedSlots: number;
    readonly checkpoints: number;
    readonly checkpointFailures: number;
    readonly integrityFailures: number;
    readonly durableLagMs: number;
    readonly lastFdatasyncMs: number;
    readonly size: number;
    readonly checkpointSize: number;
    readonly witnessedSize: number;
    readonly clockBehindMs: number;
  };
}

type Stats = ReturnType<Observed['stats']>;

export function registerAuditMetrics({ registry }: Metrics, log: Observed): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: (stats: Stats) => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read(log.stats()));
      },
    });
  const counter = (
    name: string,
    help: string,
    labelName: string,
    read: (stats: Stats) => Readonly<Record<string, number>>,
  ) =>
    new Counter({
      name,
      help,
      labelNames: [labelName],
      registers,
      collect() {
        this.reset();
        for (const [label, count] of Object.entries(read(log.stats())))
          this.inc({ [labelName]: label }, count);
      },
    });

  counter(
    'kms_audit_appends_total',
    'Records by outcome; what was refused had its answer withheld',
    'result',
    (stats) => ({
      ok: stats.appended,
      refused: stats.refused,
    }),
  );
  counter('kms_audit_checkpoint_total', 'Checkpoints by outcome', 'result', (stats) => ({
    ok: stats.checkpoints,
    failed: stats.checkpointFailures,
  }));
  counter('kms_audit_dropped_total', 'Records dropped: none ever is', 'kind', () => ({ record: 0 }));
  new Counter({
    name: 'kms_audit_integrity_failed_total',
    help: 'Times that the log was found to be altered or rolled back',
    registers,
    collect() {
      this.reset();
      this.inc(log.stats().integrityFailures);
    },
  });
  gauge(
    'kms_audit_queue_depth',
    'Places reserved or waiting for their durability',
    (stats) => stats.reservedSlots,
  );
  gauge(
    'kms_audit_durable_lag_seconds',
    'Age of the oldest record that is not on the disk',
    (stats) => stats.durableLagMs / 1000,
  );
  gauge(
    'kms_audit_fdatasync_seconds',
    'How long the last fdatasync took',
    (stats) => stats.lastFdatasyncMs / 1000,
  );
  gauge(
    'kms_clock_behind_seconds',
    'How far the clock is behind the last record of the audit log',
    (stats) => stats.clockBehindMs / 1000,
  );
  gauge('kms_audit_size', 'Records in the log', (stats) => stats.size);
  gauge('kms_audit_checkpoint_size', 'Records under the newest checkpoint', (stats) => stats.checkpointSize);
  gauge(
    'kms_audit_witnessed_size',
    'Records under the newest cosigned checkpoint',
    (stats) => stats.witnessedSize,
  );
  new Gauge({
    name: 'kms_audit_ready',
    help: '1 while keys may be used',
    registers,
    collect() {
      this.set(log.state === 'ready' ? 1 : 0);
    },
  });
}
