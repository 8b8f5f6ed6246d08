import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Attributes,
  type Context,
  isSpanContextValid,
  type ProxyTracerProvider,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace as traceApi,
} from '@opentelemetry/api';
import { hrtimeMs } from '../core/clock.ts';
import type { FailureCode } from '../core/failure.ts';
import type { Result } from '../core/result.ts';

export type { Attributes, Tracer } from '@opentelemetry/api';

/** The names of a request in logs, errors and spans. Plain data, which crosses to the workers. */
export interface RequestNames {
  /** A UUID, as the answer has it in X-Request-Id. */
  readonly requestId: string;
  /** The caller's own, as the answer has it in X-Corr-Id. */
  readonly correlationId: string | undefined;
  /** W3C Trace Context: of the span that is under way, or as the caller sent it. */
  readonly traceparent: string | undefined;
}

/** A request, as far as those need to know it who do its work. */
export interface TracedRequest {
  /** Made when they are first asked for. */
  names(): RequestNames;
  /** Undefined where nobody looks at times, as usual. */
  readonly trace: RequestTrace | undefined;
}

/** The course of one piece of work, in milliseconds of `hrtimeMs`; undefined where it did not come so far. */
export interface WorkTimes {
  /** Such as `sign` or `generate`. */
  readonly kind: string;
  readonly items: number;
  readonly queuedAtMs: number;
  /** To a worker. */
  sentAtMs: number | undefined;
  /** By the engine. */
  beganAtMs: number | undefined;
  endedAtMs: number | undefined;
  settledAtMs: number | undefined;
  result: 'ok' | FailureCode | undefined;
}

/** A batch of many dear items has as many pieces; further ones are only counted. */
const maxWorks = 64;

/** The tracer of whoever registered OpenTelemetry before the start; undefined where nobody did, so that nothing is made for it. */
export function findTracer(version: string): Tracer | undefined {
  const provider = traceApi.getTracerProvider();
  // Of the proxy, which is always there. Another copy of the package may have made it, so its class is not asked for.
  return 'getDelegateTracer' in provider && typeof provider.getDelegateTracer === 'function'
    ? provider.getDelegateTracer('intaglio', version)
    : provider.getTracer('intaglio', version);
}

/** Sends what the registered provider still holds; at once where there is none. Rejects where it cannot be sent. */
export async function flushSpans(): Promise<void> {
  const provider: Partial<ProxyTracerProvider> = traceApi.getTracerProvider();
  const registered: object = provider.getDelegate?.() ?? provider;
  // Each SDK's has it, and the API's declaration does not.
  if ('forceFlush' in registered) await (registered as { forceFlush(): Promise<void> }).forceFlush();
}

/** Attributes and name of a server span, in the words of OpenTelemetry's semantic conventions for HTTP. */
export interface SpanBeginning {
  /** `<method> <route>`, or the method alone. */
  readonly name: string;
  readonly attributes: Attributes;
  /** As the caller sent it, in the form of version 00. */
  readonly traceparent: string | undefined;
}

/** Times of one request, and its spans where there is a tracer. */
export class RequestTrace {
  readonly works: WorkTimes[] = [];
  /** Pieces of work beyond those that are kept. */
  worksLeftOut = 0;
  readonly #tracer: Tracer | undefined;
  readonly #span: Span | undefined;
  readonly #context: Context | undefined;
  /** From `hrtimeMs` to UTC: one for all spans of the request, so that they fit each other. */
  readonly #utcOffsetMs: number;

  readonly #keepsTimes: boolean;

  /** `keepsTimes`: also where no span is recorded. */
  constructor(tracer: Tracer | undefined, beginning: SpanBeginning, keepsTimes: boolean) {
    const nowMs = hrtimeMs();
    this.#utcOffsetMs = Date.now() - nowMs;
    this.#keepsTimes = keepsTimes;
    if (tracer === undefined) return;
    const span = tracer.startSpan(
      beginning.name,
      { kind: SpanKind.SERVER, startTime: this.#utcMs(nowMs), attributes: beginning.attributes },
      parentOf(beginning.traceparent),
    );
    this.#keepsTimes = keepsTimes || span.isRecording();
    this.#tracer = tracer;
    this.#span = span;
    this.#context = traceApi.setSpan(ROOT_CONTEXT, span);
  }

  /** True if there is a span to end. */
  get records(): boolean {
    return this.#span !== undefined;
  }

  /** W3C Trace Context of the server span; undefined where there is none. */
  get traceparent(): string | undefined {
    const at = this.#span?.spanContext();
    if (at === undefined || !isSpanContextValid(at)) return undefined;
    return `00-${at.traceId}-${at.spanId}-${at.traceFlags.toString(16).padStart(2, '0')}`;
  }

  /** Work that begins to wait now; undefined where nobody wants its times, or there was too much of it. */
  work(kind: string, items: number): WorkTimes | undefined {
    if (!this.#keepsTimes) return undefined;
    if (this.works.length >= maxWorks) {
      this.worksLeftOut++;
      return undefined;
    }
    const none = { sentAtMs: undefined, beganAtMs: undefined, endedAtMs: undefined };
    const times = { kind, items, queuedAtMs: hrtimeMs(), ...none, settledAtMs: undefined, result: undefined };
    this.works.push(times);
    return times;
  }

  /** The longest wait of a piece of work, and the time of the engine for all; undefined where no work came so far. */
  totals(): { readonly queueMs: number; readonly engineMs: number } | undefined {
    if (this.works.length === 0) return undefined;
    const nowMs = hrtimeMs();
    let queueMs = 0;
    let engineMs = 0;
    for (const { queuedAtMs, sentAtMs, settledAtMs = nowMs, ...at } of this.works) {
      const beganAtMs = at.beganAtMs ?? sentAtMs;
      queueMs = Math.max(queueMs, (beganAtMs ?? settledAtMs) - queuedAtMs);
      if (beganAtMs !== undefined) engineMs += (at.endedAtMs ?? settledAtMs) - beganAtMs;
    }
    return { queueMs, engineMs };
  }

  /** `errorType`: set where the service has failed, and not the caller. */
  end(attributes: Attributes, errorType: string | undefined): void {
    const span = this.#span;
    if (span === undefined) return;
    const endedAtMs = hrtimeMs();
    if (span.isRecording()) {
      for (const work of this.works) this.#child(work, endedAtMs);
      span.setAttributes(attributes);
      if (this.worksLeftOut > 0) span.setAttribute('kms.works_left_out', this.worksLeftOut);
      if (errorType !== undefined) {
        span.setAttribute('error.type', errorType);
        span.setStatus({ code: SpanStatusCode.ERROR });
      }
    }
    span.end(this.#utcMs(endedAtMs));
  }

  #child({ kind, items, result, ...at }: WorkTimes, nowMs: number): void {
    const settledAtMs = at.settledAtMs ?? nowMs;
    const attributes = { 'kms.work': kind, 'kms.work.items': items };
    const queue = this.#start('kms.queue', at.queuedAtMs, attributes);
    // What lies ready at a worker waits as well.
    if (at.sentAtMs !== undefined) queue?.addEvent('sent to a worker', this.#utcMs(at.sentAtMs));
    queue?.end(this.#utcMs(at.beganAtMs ?? at.sentAtMs ?? settledAtMs));
    const beganAtMs = at.beganAtMs ?? at.sentAtMs;
    // Refused while it waited.
    if (beganAtMs === undefined) return;
    const engine = this.#start('kms.engine', beganAtMs, attributes);
    if (result === 'Internal') engine?.setStatus({ code: SpanStatusCode.ERROR });
    engine?.end(this.#utcMs(at.endedAtMs ?? settledAtMs));
  }

  #start(name: string, atMs: number, attributes: Attributes): Span | undefined {
    const startTime = this.#utcMs(atMs);
    return this.#tracer?.startSpan(
      name,
      { kind: SpanKind.INTERNAL, startTime, attributes },
      this.#context as Context,
    );
  }

  #utcMs(atMs: number): number {
    return this.#utcOffsetMs + atMs;
  }
}

/** A context whose span is the caller's, elsewhere. An id of zeros is none (W3C Trace Context section 3.2.2). */
function parentOf(traceparent: string | undefined): Context {
  const [, traceId = '', spanId = '', flags = '0'] = traceparent?.split('-') ?? [];
  const remote = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  return isSpanContextValid(remote) ? traceApi.setSpanContext(ROOT_CONTEXT, remote) : ROOT_CONTEXT;
}

const running = new AsyncLocalStorage<TracedRequest>();

/** Does what has no way to hand the request on, such as making a key. At once and without more where nobody looks at times. */
export function runTraced<T>(request: TracedRequest | undefined, run: () => T): T {
  return request?.trace === undefined ? run() : running.run(request, run);
}

/** The request for which this is done, where somebody looks at its times. */
export function currentRequest(): TracedRequest | undefined {
  return running.getStore();
}

/** Notes the end of work before it is told. */
export function timed<T>(
  times: WorkTimes,
  settle: (outcome: Result<T>) => void,
): (outcome: Result<T>) => void {
  return (outcome) => {
    times.settledAtMs = hrtimeMs();
    times.result = outcome.ok ? 'ok' : outcome.failure.code;
    settle(outcome);
  };
}
