import { Counter, Gauge, Registry } from 'prom-client';

/** One series of a gauge that says something of a tenant. */
export interface TenantSeries {
  readonly labels: Readonly<Record<string, string>> & { readonly tenant: string };
  readonly value: number;
}

export interface TenantGauge {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  /** True for a counter: it never falls. */
  readonly counts?: true;
  /** Called at every scrape. */
  readonly read: () => readonly TenantSeries[];
}

/** True if the reader of the gauges may know of this tenant. */
export type ShownTenants = (tenant: string) => boolean;

/** These say who the tenants are and what they do. */
const hiddenLabels: ReadonlySet<string> = new Set(['tenant', 'purpose', 'origin']);

/**
 * Prometheus text of these gauges. Series of tenants that are not shown are summed, without the labels that name them. They
 * are made anew for each scrape, because two that are answered at once may show different tenants.
 */
export function expositionOf(gauges: readonly TenantGauge[], shown: ShownTenants): Promise<string> {
  const registry = new Registry();
  for (const { name, help, labelNames, counts, read } of gauges) {
    const options = { name, help, labelNames: [...labelNames], registers: [registry] };
    const gauge = counts ? new Counter(options) : new Gauge(options);
    for (const { labels, value } of read())
      gauge.inc(shown(labels.tenant) ? labels : withoutNames(labels), value);
  }
  return registry.metrics();
}

function withoutNames(labels: TenantSeries['labels']): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([name]) => !hiddenLabels.has(name)));
}
