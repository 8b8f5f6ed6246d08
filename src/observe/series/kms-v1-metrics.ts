import { Counter, Gauge, Registry } from 'prom-client';
import { LatencyHistogram, type LatencySeries } from '../latency-histogram.ts';

/** Versions of keys of one type in one state. */
export interface CountedKeys {
  readonly keyType: string;
  readonly keyState: string;
  readonly count: number;
}

export interface KmsV1MetricsParts {
  readonly environment: string;
  readonly version: string;
  /** Asked at each scrape. */
  readonly keys: () => readonly CountedKeys[];
  readonly hsmAvailable: () => boolean;
}

/** The series of one operation. Resolve it once and keep it. */
export interface KmsV1Series {
  readonly operation: string;
  success: number;
  error: number;
  readonly latency: LatencySeries;
}

/** The end of one request: `code` where it was refused. */
export interface KmsV1Answer {
  readonly code: string | undefined;
  readonly durationMs: number;
}

/** Milliseconds: the bounds that are promised of this surface are among them. */
const boundsMs: readonly number[] = [
  0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 50, 60, 100, 250, 500, 1_000, 2_500, 5_000,
];

/** Uses of keys, by the operations that they are of. */
const uses: ReadonlySet<string> = new Set(['sign', 'verify', 'encrypt', 'decrypt']);

/** The metrics of /kms/v1/metrics, in a registry of their own: names there mean other things than in /metrics. */
export class KmsV1Metrics {
  readonly #registry = new Registry();
  readonly #series = new Map<string, KmsV1Series>();
  readonly #errors = new Map<string, number>();
  readonly #latency = new LatencyHistogram(
    'kms_operation_latency_ms',
    'From the whole request to its answer, in milliseconds, successes only',
    ['operation'],
    boundsMs,
  );

  constructor(parts: KmsV1MetricsParts) {
    const registers = [this.#registry];
    const [series, errors] = [this.#series, this.#errors];
    this.#latency.registerIn(this.#registry);
    counter(registers, 'kms_requests_total', 'Requests, by operation and whether it was done', () =>
      [...series.values()].flatMap(({ operation, success, error }) => [
        { labels: { operation, status: 'success' }, value: success },
        { labels: { operation, status: 'error' }, value: error },
      ]),
    );
    counter(
      registers,
      'kms_request_errors_total',
      'Refused and failed requests, by the code that they were told',
      () => [...errors].map(([error_code, value]) => ({ labels: { error_code }, value })),
    );
    counter(registers, 'kms_key_usage_total', 'Uses of keys that were done, by operation', () =>
      [...series.values()]
        .filter(({ operation }) => uses.has(operation))
        .map(({ operation, success: value }) => ({ labels: { operation }, value })),
    );
    gauge(registers, 'kms_keys_total', 'Versions of keys, by type and state', () =>
      parts.keys().map(({ keyType: key_type, keyState: key_state, count: value }) => ({
        labels: { key_type, key_state },
        value,
      })),
    );
    gauge(registers, 'kms_hsm_available', '1 while keys can be used', () => [
      { labels: {}, value: parts.hsmAvailable() ? 1 : 0 },
    ]);
    const { environment, version } = parts;
    gauge(registers, 'kms_service_info', 'The service and the environment that it runs in; always 1', () => [
      { labels: { environment, version }, value: 1 },
    ]);
  }

  /** Operations are a closed list. */
  series(operation: string): KmsV1Series {
    const known = this.#series.get(operation);
    if (known !== undefined) return known;
    const made = { operation, success: 0, error: 0, latency: this.#latency.series(operation) };
    this.#series.set(operation, made);
    return made;
  }

  answered(series: KmsV1Series, { code, durationMs }: KmsV1Answer): void {
    if (code === undefined) {
      series.success++;
      series.latency.observe(durationMs);
      return;
    }
    series.error++;
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
  }

  /** Prometheus text format 0.0.4. */
  exposition(): Promise<string> {
    return this.#registry.metrics();
  }
}

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

function counter(registers: Registry[], name: string, help: string, read: () => readonly Sample[]): void {
  new Counter({
    ...{ name, help, registers, labelNames: labelNamesOf[name] ?? [] },
    collect() {
      this.reset();
      for (const { labels, value } of read()) this.inc(labels, value);
    },
  });
}

function gauge(registers: Registry[], name: string, help: string, read: () => readonly Sample[]): void {
  new Gauge({
    ...{ name, help, registers, labelNames: labelNamesOf[name] ?? [] },
    collect() {
      this.reset();
      for (const { labels, value } of read()) this.set(labels, value);
    },
  });
}

const labelNamesOf: Readonly<Record<string, string[]>> = {
  kms_requests_total: ['operation', 'status'],
  kms_request_errors_total: ['error_code'],
  kms_key_usage_total: ['operation'],
  kms_keys_total: ['key_type', 'key_state'],
  kms_service_info: ['environment', 'version'],
};
