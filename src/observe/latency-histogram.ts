import type { Registry } from 'prom-client';

// From a signature that found an idle worker to the longest deadline. Steps of 2 to 2.5: a quantile read from them is
// at most that far off.
export const latencyBucketsSeconds: readonly number[] = [
  0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];

/** The observations under one set of label values. */
export class LatencySeries {
  /** Not cumulative; the last one counts what is above every bound. */
  readonly counts: Float64Array;
  readonly labels: Readonly<Record<string, string>>;
  readonly #bounds: readonly number[];
  sum = 0;

  constructor(labels: Readonly<Record<string, string>>, bounds: readonly number[]) {
    this.labels = labels;
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > (this.#bounds[bucket] ?? 0)) bucket++;
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    this.sum += value;
  }
}

interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/**
 * A Prometheus histogram whose series are resolved once. prom-client's own looks its labels up by a hashed string at
 * every observation, also through `labels()`, which costs more than the rest of a request's accounting together.
 */
export class LatencyHistogram {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly #labelNames: readonly string[];
  #series: LatencySeries[] = [];

  readonly #bounds: readonly number[];

  /** `bounds`: upper ends of the buckets, rising; seconds unless the name says otherwise. */
  constructor(
    name: string,
    help: string,
    labelNames: readonly string[],
    bounds: readonly number[] = latencyBucketsSeconds,
  ) {
    this.#bounds = bounds;
    this.name = name;
    this.help = help;
    this.#labelNames = labelNames;
  }

  /** A new series; the values stand in the order of the label names. The caller keeps it and bounds their number. */
  series(...values: readonly string[]): LatencySeries {
    const made = new LatencySeries(
      // An empty one is the same to Prometheus as none.
      Object.fromEntries(
        this.#labelNames.flatMap((name, index) => (values[index] ? [[name, values[index]]] : [])),
      ),
      this.#bounds,
    );
    this.#series.push(made);
    return made;
  }

  /** prom-client asks a metric only for what `get` and `reset` give; its type for metrics lists its own classes. */
  registerIn(registry: Registry): void {
    registry.registerMetric(this as unknown as Parameters<Registry['registerMetric']>[0]);
  }

  async get(): Promise<{ name: string; help: string; type: string; aggregator: string; values: Sample[] }> {
    const { name, help, type, aggregator } = this;
    return { name, help, type, aggregator, values: this.#series.flatMap((series) => this.#samples(series)) };
  }

  reset(): void {
    for (const series of this.#series) {
      series.counts.fill(0);
      series.sum = 0;
    }
  }

  #samples({ counts, labels, sum }: LatencySeries): Sample[] {
    let total = 0;
    const buckets = [...counts].map((count, index) => {
      total += count;
      const le = this.#bounds[index] ?? '+Inf';
      return { metricName: `${this.name}_bucket`, labels: { ...labels, le }, value: total };
    });
    return [
      ...buckets,
      { metricName: `${this.name}_sum`, labels, value: sum },
      { metricName: `${this.name}_count`, labels, value: total },
    ];
  }
}
