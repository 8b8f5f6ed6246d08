import { Gauge, type Registry } from 'prom-client';
import { LatencyHistogram, type LatencySeries } from '../latency-histogram.ts';

/** Those that OpenTelemetry advises for http.server.request.duration, in seconds. */
const bucketsSeconds: readonly number[] = [
  0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];

/** RFC 9110 section 9.3, RFC 5789 and QUERY; all else is `_OTHER`, so that nobody makes series by inventing methods. */
const methods: ReadonlyMap<string, string> = new Map(
  ['CONNECT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT', 'QUERY', 'TRACE'].map((name) => [
    name.toLowerCase(),
    name,
  ]),
);

/** `method` in lower case, to the name that metrics and spans have for it. */
export function methodName(method: string): string {
  return methods.get(method) ?? '_OTHER';
}

/** Routes are some thirty and each is answered in a few ways; beyond it all are one series without route and status. */
const maxSeries = 512;

export type UrlScheme = 'http' | 'https';

/** Requests under way of one method and scheme. */
export interface ActiveRequests {
  count: number;
}

export interface AnsweredRequest {
  readonly method: string;
  readonly scheme: UrlScheme;
  /** The template of the path; empty where there is none. */
  readonly route: string;
  /** Undefined where the client had gone before the answer. */
  readonly status: number | undefined;
}

interface Series extends AnsweredRequest {
  readonly seconds: LatencySeries;
}

/** The stable metrics of OpenTelemetry's semantic conventions for HTTP servers, under their names in Prometheus. */
export class HttpMetrics {
  readonly #duration = new LatencyHistogram(
    'http_server_request_duration_seconds',
    'Duration of HTTP server requests, from the whole request to its answer',
    [
      'http_request_method',
      'url_scheme',
      'http_route',
      'http_response_status_code',
      'error_type',
      'network_protocol_version',
    ],
    bucketsSeconds,
  );
  readonly #byRoute = new Map<string, Series[]>();
  readonly #active = new Map<
    string,
    { readonly method: string; http: ActiveRequests; https: ActiveRequests }
  >();
  #series = 0;
  #other: Series | undefined;

  constructor(registry: Registry) {
    this.#duration.registerIn(registry);
    const active = this.#active;
    new Gauge({
      name: 'http_server_active_requests',
      help: 'Number of active HTTP server requests',
      labelNames: ['http_request_method', 'url_scheme'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { method, http, https } of active.values()) {
          const labels = { http_request_method: method };
          this.set({ ...labels, url_scheme: 'http' }, http.count);
          this.set({ ...labels, url_scheme: 'https' }, https.count);
        }
      },
    });
  }

  /** Whoever counts up counts down. */
  active(method: string, scheme: UrlScheme): ActiveRequests {
    const name = methodName(method);
    let known = this.#active.get(name);
    if (known === undefined) {
      known = { method: name, http: { count: 0 }, https: { count: 0 } };
      this.#active.set(name, known);
    }
    return known[scheme];
  }

  answered(request: AnsweredRequest, seconds: number): void {
    this.#seriesOf(request).seconds.observe(seconds);
  }

  #seriesOf(request: AnsweredRequest): Series {
    let ofRoute = this.#byRoute.get(request.route);
    if (ofRoute === undefined) {
      ofRoute = [];
      this.#byRoute.set(request.route, ofRoute);
    }
    // A handful, and the first is mostly the one.
    for (const known of ofRoute) {
      if (
        known.status === request.status &&
        known.method === request.method &&
        known.scheme === request.scheme
      )
        return known;
    }
    // By the closed list: what differs in an invented method only is one series.
    const method = methodName(request.method);
    const alike = ofRoute.find(
      (known) =>
        methodName(known.method) === method &&
        known.status === request.status &&
        known.scheme === request.scheme,
    );
    if (alike !== undefined) return alike;
    if (this.#series >= maxSeries) {
      this.#other ??= this.#make({ ...request, method: '', route: '', status: undefined });
      return this.#other;
    }
    this.#series++;
    const made = this.#make(request);
    ofRoute.push(made);
    return made;
  }

  #make({ method, scheme, route, status }: AnsweredRequest): Series {
    const error = errorTypeOf(status);
    const labels = [
      methodName(method),
      scheme,
      route,
      status === undefined ? '' : String(status),
      error ?? '',
    ];
    return { method, scheme, route, status, seconds: this.#duration.series(...labels, '1.1') };
  }
}

/** `error.type` of the semantic conventions: the status where the service failed, or the word for a client that went. */
export function errorTypeOf(status: number | undefined): string | undefined {
  if (status === undefined) return 'unanswered';
  return status >= 500 ? String(status) : undefined;
}
