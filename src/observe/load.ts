import { build, type Histogram } from 'hdr-histogram-js';
import { Gauge } from 'prom-client';
import { HeavyHitters } from './heavy-hitters.ts';
import { LatencyHistogram } from './latency-histogram.ts';
import type { Metrics } from './metrics.ts';

/** The load at this moment, for operators to look at while it burns. */
export interface LoadReport {
  readonly queue: QueueState;
  /** Quantiles of the last one to two windows. */
  readonly window_s: number;
  readonly latency: readonly LatencyQuantiles[];
  /** Parts of the workers' time, the largest first. */
  readonly tenants: readonly { readonly tenant: string; readonly share: number }[];
}

export interface QueueState {
  readonly waiting_calls: number;
  readonly waiting_cost_us: number;
  readonly active_tenants: number;
}

export interface LatencyQuantiles {
  readonly op: string;
  readonly alg: string;
  readonly count: number;
  readonly p50_ms: number;
  readonly p95_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
}

export interface LoadMonitor {
  done(op: string, alg: string, seconds: number): void;
  waited(tenant: string, costUs: number, waitMs: number): void;
  served(calls: number, serviceMs: number, waitingCalls: number): void;
  /** All tenants, or one tenant's own share only. */
  report(onlyTenant?: string): LoadReport;
  stop(): void;
}

/** Long enough for a p99 of a hundred calls a second, short enough to show what happens now. */
const windowS = 10;

/** Counters of tenants; the report and the metrics show the first 20, the rest is `other`. */
const trackedTenants = 256;
const shownTenants = 20;

/** Two latest windows of one operation and algorithm, in microseconds: 1 us to 60 s at two digits, 20 KiB each. */
interface Windows {
  readonly op: string;
  readonly alg: string;
  current: Histogram;
  previous: Histogram;
}

export function createLoadMonitor(metrics: Metrics, queue: () => QueueState): LoadMonitor {
  const windows = new Map<string, Map<string, Windows>>();
  const tenants = new HeavyHitters(trackedTenants);
  const waits = new LatencyHistogram(
    'kms_queue_wait_seconds',
    'From admission until a worker was given the call',
    [],
  );
  const services = new LatencyHistogram(
    'kms_job_seconds',
    'From sending a job to a worker until its answer',
    [],
  );
  const sizes = new LatencyHistogram('kms_batch_len', 'Calls in one job', [], batchBuckets);
  const depths = new LatencyHistogram(
    'kms_queue_len',
    'Calls that waited when a job was sent',
    [],
    depthBuckets,
  );
  for (const histogram of [waits, services, sizes, depths]) histogram.registerIn(metrics.registry);
  const wait = waits.series();
  const service = services.series();
  const size = sizes.series();
  const depth = depths.series();

  const turn = setInterval(() => {
    tenants.fade();
    for (const byAlg of windows.values()) {
      for (const entry of byAlg.values()) {
        const oldest = entry.previous;
        oldest.reset();
        entry.previous = entry.current;
        entry.current = oldest;
      }
    }
  }, windowS * 1000);
  turn.unref();

  const quantiles = (): LatencyQuantiles[] =>
    [...windows.values()]
      .flatMap((byAlg) => [...byAlg.values()])
      .flatMap((entry) => quantilesOf(entry) ?? []);
  registerGauges(metrics, quantiles, tenants);

  return {
    done(op, alg, seconds) {
      windowsOf(windows, op, alg).current.recordValue(
        Math.min(maxUs, Math.max(1, Math.round(seconds * 1e6))),
      );
    },
    waited(tenant, costUs, waitMs) {
      tenants.add(tenant, costUs);
      wait.observe(waitMs / 1000);
    },
    served(calls, serviceMs, waitingCalls) {
      size.observe(calls);
      service.observe(serviceMs / 1000);
      depth.observe(waitingCalls);
    },
    report(onlyTenant) {
      const shares =
        onlyTenant === undefined
          ? tenants.top(shownTenants).map(({ name, share }) => ({ tenant: name, share: rounded(share) }))
          : [{ tenant: onlyTenant, share: rounded(tenants.share(onlyTenant)) }];
      return { queue: queue(), window_s: windowS, latency: quantiles(), tenants: shares };
    },
    stop: () => clearInterval(turn),
  };
}

const maxUs = 60_000_000;
const batchBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const depthBuckets = [0, 1, 4, 16, 64, 256, 1024, 4096, 16_384];

function windowsOf(windows: Map<string, Map<string, Windows>>, op: string, alg: string): Windows {
  const byAlg = windows.get(op) ?? new Map<string, Windows>();
  const known = byAlg.get(alg);
  if (known !== undefined) return known;
  const made = { op, alg, current: emptyHistogram(), previous: emptyHistogram() };
  windows.set(op, byAlg.set(alg, made));
  return made;
}

function emptyHistogram(): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: maxUs,
    numberOfSignificantValueDigits: 2,
  });
}

function quantilesOf({ op, alg, current, previous }: Windows): LatencyQuantiles | undefined {
  const both = emptyHistogram();
  both.add(previous);
  both.add(current);
  if (both.totalCount === 0) return undefined;
  const at = (percentile: number) => both.getValueAtPercentile(percentile) / 1000;
  return { op, alg, count: both.totalCount, p50_ms: at(50), p95_ms: at(95), p99_ms: at(99), max_ms: at(100) };
}

function registerGauges(metrics: Metrics, quantiles: () => LatencyQuantiles[], tenants: HeavyHitters): void {
  const registers = [metrics.registry];
  new Gauge({
    name: 'kms_latency_quantile_seconds',
    help: `Quantiles of the last ${windowS} to ${2 * windowS} seconds`,
    labelNames: ['op', 'alg', 'quantile'],
    registers,
    collect() {
      this.reset();
      for (const { op, alg, p50_ms, p95_ms, p99_ms } of quantiles()) {
        this.set({ op, alg, quantile: '0.5' }, p50_ms / 1000);
        this.set({ op, alg, quantile: '0.95' }, p95_ms / 1000);
        this.set({ op, alg, quantile: '0.99' }, p99_ms / 1000);
      }
    },
  });
  metrics.tenantGauge({
    name: 'kms_tenant_share',
    help: `Part of the workers' time of late, of the ${shownTenants} tenants that use most; the rest is "other"`,
    labelNames: ['tenant'],
    read() {
      const top = tenants.top(shownTenants);
      if (top.length === 0) return [];
      const rest = Math.max(0, 1 - top.reduce((sum, { share }) => sum + share, 0));
      const shares = top.map(({ name, share }) => ({ labels: { tenant: name }, value: share }));
      return [...shares, { labels: { tenant: 'other' }, value: rest }];
    },
  });
}

function rounded(share: number): number {
  return Math.round(share * 10_000) / 10_000;
}
