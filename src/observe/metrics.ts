import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { LatencyHistogram, type LatencySeries } from './latency-histogram.ts';
import { expositionOf, type ShownTenants, type TenantGauge } from './tenant-gauges.ts';

/** One operation with one algorithm. Resolve it once and keep it: `done` does no lookup by labels. */
export interface OperationMetric {
  /** `result` is `ok` or a failure code; `seconds` from accepting the request to its answer. */
  done(result: string, seconds: number): void;
}

export interface Metrics {
  /** `alg` is `none` where an operation has no algorithm. */
  operation(op: string, alg: string): OperationMetric;
  /** A request that was refused or failed: `backpressure`, `unauth`, `rate`, `pq_policy`, `too_large`, … */
  rejected(reason: string): void;
  authFailed(): void;
  /** Called at every scrape; whoever counts keys bounds the number of series. */
  keyCounts(read: () => readonly KeySeries[]): void;
  /** Called at every scrape. */
  queueDepth(read: () => number): void;
  engine(name: string): void;
  /** A gauge whose label names a tenant or a tenant's own things; in `registry` everybody would see it. */
  tenantGauge(gauge: TenantGauge): void;
  /** The registry, for whoever has further metrics that everybody may see. */
  readonly registry: Registry;
  readonly contentType: string;
  /** Prometheus text format 0.0.4, as those may see it who may know of the tenants `shown`. */
  exposition(shown: ShownTenants): Promise<string>;
}

export interface KeySeries {
  readonly tenant: string;
  readonly purpose: string;
  readonly alg: string;
  readonly count: number;
}

// Labels come from closed lists (operations, algorithms, codes), so this is only reached by a bug; then everything
// further is counted under `other` and the process keeps its memory.
const maxSeries = 512;
// Failure codes are some twenty, and reasons of rejection fewer.
const maxLabels = 64;

/** Counters that hot paths raise as plain numbers; labels are built when somebody scrapes. */
class Tally {
  readonly #counts = new Map<string, number>();

  add(label: string): void {
    const known = this.#counts.has(label) || this.#counts.size < maxLabels;
    const name = known ? label : 'other';
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  entries(): Iterable<[string, number]> {
    return this.#counts;
  }
}

interface OperationSeries extends OperationMetric {
  readonly op: string;
  readonly alg: string;
  readonly results: Tally;
}

/** Memory, processor and event loop of the whole process: for whoever serves alone in it. They are measured until it ends. */
export function registerProcessMetrics({ registry }: Metrics): void {
  collectDefaultMetrics({ register: registry });
}

/**
 * A registry of its own, never prom-client's global one: two services in one process do not mix. `service`: the label of that
 * name, as in the log.
 */
export function createMetrics(service: string): Metrics {
  const registry = new Registry();
  const registers = [registry];

  const operation = operationSeries(registry);

  const rejections = new Tally();
  new Counter({
    name: 'kms_reject_total',
    help: 'Requests that were refused or failed, by reason; 500 is internal',
    labelNames: ['reason'],
    registers,
    collect() {
      this.reset();
      for (const [reason, count] of rejections.entries()) this.inc({ reason }, count);
    },
  });

  let authFailures = 0;
  new Counter({
    name: 'auth_failures_total',
    help: 'Requests without a valid capability',
    labelNames: ['service'],
    registers,
    collect() {
      this.reset();
      this.inc({ service }, authFailures);
    },
  });

  let keyCounts: () => readonly KeySeries[] = () => [];
  const tenantGauges: TenantGauge[] = [
    {
      name: 'kms_keys_total',
      help: 'Keys that are not destroyed; beyond 1,000 label sets they are counted under "other"',
      labelNames: ['tenant', 'purpose', 'alg'],
      read: () => keyCounts().map(({ count: value, ...labels }) => ({ labels, value })),
    },
  ];

  let depth: () => number = () => 0;
  new Gauge({
    name: 'kms_queue_depth',
    help: 'Calls that wait for a worker',
    registers,
    collect() {
      this.set(depth());
    },
  });

  const engineInfo = new Gauge({
    name: 'kms_engine_info',
    help: 'The crypto engine in use; always 1',
    labelNames: ['engine'],
    registers,
  });

  return {
    operation,
    rejected(reason) {
      rejections.add(reason);
    },
    authFailed() {
      authFailures++;
    },
    keyCounts(read) {
      keyCounts = read;
    },
    queueDepth(read) {
      depth = read;
    },
    engine(name) {
      engineInfo.reset();
      engineInfo.set({ engine: name }, 1);
    },
    tenantGauge(gauge) {
      tenantGauges.push(gauge);
    },
    registry,
    contentType: registry.contentType,
    exposition: async (shown) => `${await registry.metrics()}\n${await expositionOf(tenantGauges, shown)}`,
  };
}

/** Outcomes and latencies by operation and algorithm; beyond `maxSeries` of these pairs all are one, `other`. */
function operationSeries(registry: Registry): Metrics['operation'] {
  const series: OperationSeries[] = [];
  const byOp = new Map<string, Map<string, OperationSeries>>();
  const latency = new LatencyHistogram('kms_latency_seconds', 'From accepting a request to its answer', [
    'op',
    'alg',
  ]);
  latency.registerIn(registry);
  const makeSeries = (op: string, alg: string): OperationSeries => {
    const results = new Tally();
    const seconds: LatencySeries = latency.series(op, alg);
    const made = {
      op,
      alg,
      results,
      done(result: string, elapsed: number) {
        results.add(result);
        seconds.observe(elapsed);
      },
    };
    series.push(made);
    return made;
  };
  let other: OperationSeries | undefined;

  new Counter({
    name: 'kms_ops_total',
    help: 'Operations by outcome: ok or the failure code',
    labelNames: ['op', 'alg', 'result'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { op, alg, results } of series) {
        for (const [result, count] of results.entries()) this.inc({ op, alg, result }, count);
      }
    },
  });

  return (op, alg) => {
    const known = byOp.get(op)?.get(alg);
    if (known !== undefined) return known;
    if (series.length >= maxSeries) {
      other ??= makeSeries('other', 'other');
      return other;
    }
    const made = makeSeries(op, alg);
    const byAlg = byOp.get(op) ?? new Map<string, OperationSeries>();
    byOp.set(op, byAlg.set(alg, made));
    return made;
  };
}
