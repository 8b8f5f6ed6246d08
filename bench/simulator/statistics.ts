import { build, type Histogram } from 'hdr-histogram-js';
import { type Ending, endings } from './call.ts';

/** In milliseconds. */
export interface Quantiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Times in steps of 10 ns, to three digits, from there to 100 s. */
export class Times {
  readonly #histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 1e10,
    numberOfSignificantValueDigits: 3,
  });

  recordUs(timeUs: number): void {
    this.#histogram.recordValue(Math.round(timeUs * 100));
  }

  quantiles(): Quantiles {
    const at = (percentile: number) => round(this.#histogram.getValueAtPercentile(percentile) / 1e5, 5);
    return {
      p50: at(50),
      p95: at(95),
      p99: at(99),
      max: round(this.#histogram.totalCount === 0 ? 0 : this.#histogram.maxValue / 1e5, 5),
    };
  }
}

/** The outcomes of one tenant class's calls that came within the window. */
export class ClassCounts {
  offered = 0;
  readonly refused = new Map<string, number>();
  readonly ended = Object.fromEntries(endings.map((ending) => [ending, 0])) as Record<Ending, number>;
  /** Answered after their deadline: drawn in time, done too late. */
  late = 0;
  /** Until a worker begins with the call's job. */
  readonly wait = new Times();
  /** Until the answer. */
  readonly latency = new Times();

  refuse(reason: string): void {
    this.refused.set(reason, (this.refused.get(reason) ?? 0) + 1);
  }

  get refusedInAll(): number {
    let sum = 0;
    for (const count of this.refused.values()) sum += count;
    return sum;
  }
}

export function round(value: number, digits: number): number {
  const scale = 10 ** digits;
  return Math.round(value * scale) / scale;
}
