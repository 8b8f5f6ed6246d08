import { build, type Histogram } from 'hdr-histogram-js';
import type { PartResult, Quantiles } from './plan.ts';

/** 1 us to 60 s. */
export function histogram(digits: 2 | 3 = 3): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: digits,
  });
}

export function quantiles(values: Histogram): Quantiles {
  // The value of a percentile is the upper end of its step, which may lie above the greatest.
  const at = (percentile: number) =>
    Math.min(values.getValueAtPercentile(percentile), values.maxValue) / 1000;
  return {
    p50: at(50),
    p95: at(95),
    p99: at(99),
    p999: at(99.9),
    max: values.maxValue / 1000,
    count: values.totalCount,
  };
}

interface Part {
  sent: number;
  unsent: number;
  ok: number;
  readonly statuses: Map<number, number>;
  readonly latency: Histogram;
}

/** The counted part of a run, cut into pieces: at these times after its start, or into pieces of one length. */
export class Parts {
  readonly #bordersMs: readonly number[];
  readonly #eachMs: number;
  readonly #parts: Part[] = [];
  #startUs = 0;
  #countFromUs = 0;

  constructor({ bordersMs = [], eachMs = 0 }: { bordersMs?: readonly number[]; eachMs?: number }) {
    this.#bordersMs = bordersMs;
    this.#eachMs = eachMs;
  }

  start(startUs: number, countFromUs: number): void {
    this.#startUs = startUs;
    this.#countFromUs = countFromUs;
  }

  sent(dueAtUs: number): void {
    const part = this.#part(dueAtUs);
    if (part !== undefined) part.sent++;
  }

  unsent(dueAtUs: number): void {
    const part = this.#part(dueAtUs);
    if (part !== undefined) part.unsent++;
  }

  answered(atUs: number, status: number, tookUs: number): void {
    const part = this.#part(atUs);
    if (part === undefined) return;
    part.statuses.set(status, (part.statuses.get(status) ?? 0) + 1);
    if (status < 200 || status >= 300) return;
    part.ok++;
    part.latency.recordValue(Math.min(tookUs, 60_000_000));
  }

  results(endUs: number): PartResult[] {
    // Monotonic times are large, and their differences carry the error of their last digits.
    const sinceStartMs = (atUs: number) => Math.round(atUs - this.#startUs) / 1000;
    const firstMs = sinceStartMs(this.#countFromUs);
    const border = (index: number) =>
      index === 0
        ? firstMs
        : index === this.#parts.length
          ? sinceStartMs(endUs)
          : this.#eachMs > 0
            ? firstMs + index * this.#eachMs
            : (this.#bordersMs[index - 1] as number);
    return this.#parts.map(({ sent, unsent, ok, statuses, latency }, index) => ({
      fromMs: border(index),
      toMs: border(index + 1),
      sent,
      unsent,
      ok,
      statuses: Object.fromEntries([...statuses].map(([status, count]) => [String(status), count])),
      latencyMs: quantiles(latency),
    }));
  }

  /** Undefined before the counted part, or where nothing is to be cut. */
  #part(atUs: number): Part | undefined {
    if (atUs < this.#countFromUs || (this.#eachMs === 0 && this.#bordersMs.length === 0)) return undefined;
    const atMs = (atUs - this.#startUs) / 1000;
    const index =
      this.#eachMs > 0
        ? Math.floor((atUs - this.#countFromUs) / 1000 / this.#eachMs)
        : this.#bordersMs.filter((borderMs) => borderMs <= atMs).length;
    while (this.#parts.length <= index)
      this.#parts.push({ sent: 0, unsent: 0, ok: 0, statuses: new Map(), latency: histogram(2) });
    return this.#parts[index];
  }
}
