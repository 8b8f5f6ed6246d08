import { jainIndex, maxMinSharesUs } from './fairness.ts';
import type { Outcome, SimulatorOptions } from './simulator.ts';
import { type Quantiles, round } from './statistics.ts';
import type { TenantOutcome } from './tenants.ts';

/** The outcome of one run: plain data, the same for the same options. Only calls that came within the window count. */
export interface RunReport {
  readonly name: string;
  /** Work asked for, as a multiple of what all workers together can do. */
  readonly load: number;
  /** Share of the workers' time in use, 0 to 1; `work` without what jobs cost beside their calls. */
  readonly utilisation: { readonly busy: number; readonly work: number };
  readonly callsPerJob: number;
  readonly offeredPerSecond: number;
  readonly servedPerSecond: number;
  readonly classes: readonly ClassReport[];
  readonly jain: {
    /** Over the weighted service of the tenants that had calls waiting throughout; null when there are none. */
    readonly alwaysWaiting: number | null;
    readonly alwaysWaitingTenants: number;
    /** Over each tenant's service as a share of its weighted max-min fair part. */
    readonly ofFairPart: number | null;
  };
  /**
   * Between tenants that kept calls waiting from the start, in microseconds of charged work at weight 1, and the bound
   * of docs/fairness.md; null where no class did.
   */
  readonly unfairnessUs: { readonly max: number; readonly bound: number } | null;
  /** Over the whole run, with what came before and after the window. */
  readonly totals: Outcome['totals'];
}

export interface ClassReport {
  readonly name: string;
  readonly tenants: number;
  readonly weight: number;
  readonly offered: number;
  readonly served: number;
  readonly servedPerSecond: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly refusedShare: number;
  readonly expired: number;
  readonly cancelled: number;
  readonly late: number;
  readonly waitMs: Quantiles;
  readonly latencyMs: Quantiles;
  /** Service as a share of the weighted max-min fair part, over the tenants of the class. */
  readonly ofFairPart: { readonly mean: number; readonly min: number };
}

export function reportOn(name: string, options: SimulatorOptions, outcome: Outcome): RunReport {
  const seconds = options.durationMs / 1000;
  const capacityUs = options.cores * options.durationMs * 1000;
  const { tenants, use } = outcome;
  const sum = (of: (tenant: TenantOutcome) => number) =>
    tenants.reduce((total, tenant) => total + of(tenant), 0);
  const demandUs = sum((tenant) => tenant.demandUs);
  const fairUs = maxMinSharesUs(
    tenants,
    sum((tenant) => tenant.servedUs),
  );
  const ofFairPart = tenants.map(({ servedUs }, index) => {
    const partUs = fairUs[index] as number;
    return partUs === 0 ? undefined : servedUs / partUs;
  });
  const waiting = tenants.filter(({ alwaysWaiting }) => alwaysWaiting);
  const jain = (values: readonly number[]) => rounded(jainIndex(values), 5);
  const offered = outcome.classes.reduce((total, counts) => total + counts.offered, 0);
  const served = outcome.classes.reduce((total, counts) => total + counts.ended.served, 0);
  return {
    name,
    load: round(demandUs / capacityUs, 3),
    utilisation: { busy: round(use.busyUs / capacityUs, 4), work: round(use.workUs / capacityUs, 4) },
    callsPerJob: round(use.calls / Math.max(1, use.jobs), 2),
    offeredPerSecond: Math.round(offered / seconds),
    servedPerSecond: Math.round(served / seconds),
    classes: options.classes.map((_, index) => reportOnClass(index, options, outcome, ofFairPart)),
    jain: {
      alwaysWaiting: jain(waiting.map(({ servedUs, weight }) => servedUs / weight)),
      alwaysWaitingTenants: waiting.length,
      ofFairPart: jain(ofFairPart.filter((share) => share !== undefined)),
    },
    unfairnessUs:
      outcome.maxUnfairnessUs === undefined
        ? null
        : {
            max: round(outcome.maxUnfairnessUs, 1),
            bound: round(options.limits.quantumUs + outcome.dearestPriceUs / leastWeight(options), 1),
          },
    totals: outcome.totals,
  };
}

function reportOnClass(
  classIndex: number,
  options: SimulatorOptions,
  outcome: Outcome,
  ofFairPart: readonly (number | undefined)[],
): ClassReport {
  const counts = outcome.classes[classIndex] as Outcome['classes'][number];
  const tenantClass = options.classes[classIndex] as SimulatorOptions['classes'][number];
  const { name, tenants, weight } = tenantClass;
  const shares = ofFairPart.filter(
    (share, index): share is number =>
      share !== undefined && outcome.tenants[index]?.classIndex === classIndex,
  );
  return {
    name,
    tenants,
    weight,
    offered: counts.offered,
    served: counts.ended.served,
    servedPerSecond: Math.round(counts.ended.served / (options.durationMs / 1000)),
    refused: Object.fromEntries([...counts.refused].sort(([a], [b]) => (a < b ? -1 : 1))),
    refusedShare: round(counts.refusedInAll / Math.max(1, counts.offered), 5),
    expired: counts.ended.expired,
    cancelled: counts.ended.cancelled,
    late: counts.late,
    waitMs: counts.wait.quantiles(),
    latencyMs: counts.latency.quantiles(),
    ofFairPart: {
      mean: round(shares.reduce((total, share) => total + share, 0) / Math.max(1, shares.length), 4),
      min: round(
        shares.reduce((least, share) => Math.min(least, share), shares[0] ?? 0),
        4,
      ),
    },
  };
}

function leastWeight({ classes }: SimulatorOptions): number {
  return Math.min(...classes.map(({ weight }) => weight));
}

function rounded(value: number | undefined, digits: number): number | null {
  return value === undefined ? null : round(value, digits);
}

const milliseconds = (value: number) => value.toFixed(value < 1 ? 3 : value < 100 ? 2 : 0);
const percent = (share: number) => `${(share * 100).toFixed(share > 0 && share < 0.001 ? 3 : 1)} %`;
const thousands = (value: number) => Math.round(value).toLocaleString('en');

/** One run as text. */
export function renderRun(run: RunReport): string {
  const head = ['class', 'tenants', 'weight', 'served/s', 'refused', 'expired', 'cancelled'];
  const rows = run.classes.map((one) => [
    one.name,
    thousands(one.tenants),
    String(one.weight),
    thousands(one.servedPerSecond),
    percent(one.refusedShare),
    thousands(one.expired),
    thousands(one.cancelled),
    ...[one.waitMs.p50, one.waitMs.p95, one.waitMs.p99, one.latencyMs.p95].map(milliseconds),
    one.ofFairPart.mean.toFixed(3),
    one.ofFairPart.min.toFixed(3),
  ]);
  const { jain, unfairnessUs, totals } = run;
  const lines = [
    `${run.name}: ${thousands(run.offeredPerSecond)} calls/s offered, ${run.load.toFixed(2)} times what the workers can do`,
    renderTable([...head, 'wait p50 ms', 'p95', 'p99', 'answer p95', 'of fair part', 'least'], rows),
    `  ${thousands(run.servedPerSecond)} calls/s served; workers busy ${percent(run.utilisation.busy)}, with calls ${percent(run.utilisation.work)}; ${run.callsPerJob.toFixed(1)} calls a job`,
    `  Jain's index: ${jain.ofFairPart ?? '-'} over shares of the fair part; ${jain.alwaysWaiting ?? '-'} over the ${thousands(jain.alwaysWaitingTenants)} tenants that always waited`,
    `  ${thousands(totals.offered)} calls = ${thousands(totals.refused)} refused + ${thousands(totals.served)} served + ${thousands(totals.expired)} expired + ${thousands(totals.cancelled)} cancelled`,
  ];
  if (unfairnessUs !== null) {
    lines.push(
      `  largest difference in service between two of them: ${thousands(unfairnessUs.max)} us (bound ${thousands(unfairnessUs.bound)} us)`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** Columns of one width each, the first to the left, numbers to the right. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    `  ${cells
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] as number) : cell.padStart(widths[column] as number),
      )
      .join('  ')}`;
  return [line(head), ...rows.map(line)].join('\n');
}
