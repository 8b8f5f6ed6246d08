import { Counter } from 'prom-client';
import type { Metrics } from '../metrics.ts';

/** Counts of what becomes of keys, for whoever watches a few of them and not every operation. */
export interface LifecycleMetrics {
  /** The end of an operation: `result` is `ok` or a failure code. */
  done(operation: string, result: string): void;
  /** A key was derived, or found as it was derived before. */
  derived(tenant: string, origin: string): void;
}

/** Origins are the callers' own texts, so only so many have a series; the others are one of each tenant, `other`. */
const maxOrigins = 1_000;

/** Operations that make a new version, and whose it is. */
const rotations: Readonly<Record<string, string>> = {
  rotate: 'key',
  import_version: 'key',
  audit_rotate_keys: 'audit',
  token_rotate_key: 'token',
};

/** What these are given may not open, which is a bad request to their caller. */
const openers: ReadonlySet<string> = new Set(['unseal', 'unwrap', 'decrypt', 'rewrap']);

const errorKinds: Readonly<Record<string, string>> = {
  NotFound: 'unknown_key',
  Unsupported: 'unsupported',
  PolicyViolation: 'policy',
  ExportForbidden: 'policy',
  Internal: 'crypto',
};

export function createLifecycleMetrics(metrics: Metrics): LifecycleMetrics {
  const registers = [metrics.registry];
  const counter = (name: string, help: string, label: string) =>
    new Counter({ name, help, labelNames: [label], registers });
  const sealed = counter('kms_seal_total', 'Seals, by whether they succeeded', 'ok');
  const unsealed = counter('kms_unseal_total', 'Unseals, by whether they succeeded', 'ok');
  const errors = counter('kms_errors_total', 'Operations on keys that failed, by kind', 'kind');
  const rotated = counter(
    'kms_rotations_total',
    'New versions, of keys and of the keys of the service',
    'scope',
  );
  const origins = originCounts();
  metrics.tenantGauge({
    name: 'kms_derivations_total',
    help: 'Derivations by origin; beyond 1,000 origins they are counted under "other"',
    labelNames: ['tenant', 'origin'],
    counts: true,
    read: origins.series,
  });
  return {
    done(operation, result) {
      const succeeded = result === 'ok';
      if (operation === 'seal') sealed.inc({ ok: String(succeeded) });
      if (operation === 'unseal') unsealed.inc({ ok: String(succeeded) });
      const scope = Object.hasOwn(rotations, operation) ? rotations[operation] : undefined;
      if (succeeded && scope !== undefined) rotated.inc({ scope });
      const kind = kindOf(operation, result);
      if (kind !== undefined) errors.inc({ kind });
    },
    derived: origins.add,
  };
}

function kindOf(operation: string, result: string): string | undefined {
  if (result === 'BadRequest') return openers.has(operation) ? 'crypto' : undefined;
  return Object.hasOwn(errorKinds, result) ? errorKinds[result] : undefined;
}

function originCounts() {
  const counts = new Map<string, { readonly tenant: string; readonly origin: string; count: number }>();
  return {
    add(tenant: string, asked: string): void {
      const named = `${tenant}/${asked}`;
      const origin = counts.has(named) || counts.size < maxOrigins ? asked : 'other';
      const name = `${tenant}/${origin}`;
      const series = counts.get(name) ?? { tenant, origin, count: 0 };
      series.count++;
      counts.set(name, series);
    },
    series: () =>
      [...counts.values()].map(({ tenant, origin, count }) => ({ labels: { tenant, origin }, value: count })),
  };
}
