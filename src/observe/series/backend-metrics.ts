import { Counter, Gauge } from 'prom-client';
import { LatencyHistogram } from '../latency-histogram.ts';
import type { Metrics } from '../metrics.ts';

/** A backend that can be away, as it is seen at a scrape. */
export interface SeenBackend {
  readonly backend: string;
  readonly up: boolean;
  /** Since the last contact, in milliseconds; undefined before the first. */
  readonly contactAgeMs: number | undefined;
  readonly breaker: BreakerState;
  /** Operations that had no answer in time, since the start. */
  readonly timeouts: number;
}

/** `open`: what is asked is refused at once. `half_open`: the same, while it is being tried again. */
export const breakerStates = ['closed', 'open', 'half_open'] as const;
export type BreakerState = (typeof breakerStates)[number];

export interface BackendMetrics {
  /** A job was sent to this backend and came back after so long. */
  served(backend: string, seconds: number): void;
  /** The way to it was lost. */
  lost(backend: string): void;
  /** A signature was checked by what is known of a key whose backend is away. */
  cacheHit(backend: string, stale: boolean): void;
  /** A signature was made by another backend than the key's own. */
  stoodIn(backend: string, by: string): void;
}

/** `read` is called at each scrape. Names of backends are the operator's, and few. */
export function createBackendMetrics(
  { registry }: Pick<Metrics, 'registry'>,
  read: () => readonly SeenBackend[],
): BackendMetrics {
  const registers = [registry];
  const labelNames = ['backend'];
  const gauge = (name: string, help: string, numberOf: (seen: SeenBackend) => number | undefined) =>
    new Gauge({
      ...{ name, help, labelNames, registers },
      collect() {
        this.reset();
        for (const seen of read()) {
          const value = numberOf(seen);
          if (value !== undefined) this.set({ backend: seen.backend }, value);
        }
      },
    });
  gauge('kms_backend_up', '1 while the backend of keys answers', ({ up }) => (up ? 1 : 0));
  gauge(
    'kms_backend_contact_age_seconds',
    'Since the last answer of the backend; missing before the first',
    ({ contactAgeMs }) => contactAgeMs && contactAgeMs / 1_000,
  );
  gauge(
    'verify_cache_age_ms',
    'The age of what signatures are checked by while the backend is away; 0 while it answers',
    ({ up, contactAgeMs }) => (up ? 0 : contactAgeMs),
  );
  new Gauge({
    name: 'kms_backend_breaker_state',
    help: '1 for the state of the breaker before the backend: closed lets work through',
    labelNames: ['backend', 'state'],
    registers,
    collect() {
      for (const { backend, breaker } of read())
        for (const state of breakerStates) this.set({ backend, state }, state === breaker ? 1 : 0);
    },
  });
  new Counter({
    name: 'io_timeouts_total',
    help: 'Operations of a backend that had no answer in time',
    ...{ labelNames, registers },
    collect() {
      this.reset();
      for (const { backend, timeouts } of read()) this.inc({ backend }, timeouts);
    },
  });
  const losses = new Counter({
    name: 'kms_backend_losses_total',
    help: 'Times that the way to the backend was lost',
    ...{ labelNames, registers },
  });
  const hits = new Counter({
    name: 'kms_verify_cache_hits_total',
    help: 'Signatures checked by cached public keys while the backend of the key was away; stale: beyond KMS_VERIFY_CACHE_TTL_MS',
    labelNames: ['backend', 'stale'],
    registers,
  });
  const fallbacks = new Counter({
    name: 'kms_sign_fallbacks_total',
    help: 'Signatures that another backend made while that of the key was away',
    labelNames: ['backend', 'by'],
    registers,
  });
  const latency = new LatencyHistogram(
    'kms_backend_operation_seconds',
    'From sending a job to a backend to its answer',
    labelNames,
  );
  latency.registerIn(registry);
  const series = new Map<string, ReturnType<LatencyHistogram['series']>>();
  return {
    served(backend, seconds) {
      const known = series.get(backend) ?? latency.series(backend);
      series.set(backend, known);
      known.observe(seconds);
    },
    lost: (backend) => losses.inc({ backend }),
    cacheHit: (backend, stale) => hits.inc({ backend, stale: String(stale) }),
    stoodIn: (backend, by) => fallbacks.inc({ backend, by }),
  };
}
