import { findAlgorithm } from '../algorithms/registry.ts';
import type { FailureCode } from '../core/failure.ts';
import { formatKid, parseKid } from '../keys/kid.ts';
import { type AccessFacts, accessLine } from '../observe/access-line.ts';
import { LineSampler } from '../observe/line-sampler.ts';
import type { Logger } from '../observe/log.ts';
import { type ListenerRefusal, reasonOf } from '../observe/refusals.ts';
import {
  type ActiveRequests,
  errorTypeOf,
  type HttpMetrics,
  methodName,
} from '../observe/series/http-metrics.ts';
import { type Attributes, RequestTrace, type Tracer } from '../observe/tracing.ts';
import { factsOf } from '../operations/operation.ts';
import { isWork } from '../operations/recorded-work.ts';
import type { Exchange, Response } from './exchange.ts';
import type { RequestNotes } from './request-notes.ts';
import { requestNamesOf } from './respond.ts';

/** Keys of one call that its line and its span name; a batch may have hundreds. */
const maxKids = 8;

/** Metrics, lines and spans of each request. Where nobody looks, a call costs two counters and a histogram. */
export class Telemetry {
  readonly #metrics: HttpMetrics;
  readonly #log: Logger;
  readonly #tracer: Tracer | undefined;
  readonly #sampler = new LineSampler();

  /** `tracer`: undefined where nobody registered OpenTelemetry. */
  constructor(metrics: HttpMetrics, log: Logger, tracer: Tracer | undefined) {
    this.#metrics = metrics;
    this.#log = log;
    this.#tracer = tracer;
  }

  active({ method, scheme }: Exchange): ActiveRequests {
    const active = this.#metrics.active(method, scheme);
    active.count++;
    return active;
  }

  /** A call, as opposed to a probe or a scrape, is about to be answered or refused. */
  begin(notes: RequestNotes): void {
    const everyCall = this.#log.isLevelEnabled('debug');
    if (this.#tracer === undefined && !everyCall) return;
    const { exchange, template } = notes;
    const method = methodName(exchange.method);
    const beginning = {
      // The conventions have HTTP in the place of a method that nobody knows.
      name: `${method === '_OTHER' ? 'HTTP' : method} ${template}`.trimEnd(),
      attributes: this.#tracer === undefined ? {} : attributesOf(exchange, method, template),
      traceparent: requestNamesOf(exchange.headers).traceparent,
    };
    notes.trace = new RequestTrace(this.#tracer, beginning, everyCall);
    // From here on the answer has the id that lines and workers are told.
    const { requestId, correlationId } = notes.names();
    const { lines } = notes.dialect;
    if (lines === undefined || !everyCall) return;
    const facts = { requestId, correlationId, ...notes.traceIds(), route: template || undefined };
    this.#log.debug(accessLine({ ...facts, method }), lines.begin);
  }

  /** `why`: the refusal's kind, where it was refused. Called before the answer is handed over. */
  answered(notes: RequestNotes, response: Response, why: FailureCode | undefined, nowMs: number): void {
    if (notes.active !== undefined) notes.active.count--;
    const { exchange, template: route } = notes;
    const { method, scheme } = exchange;
    const status = exchange.cancellation.cancelled ? undefined : response.status;
    this.#metrics.answered({ method, scheme, route, status }, (nowMs - notes.startedAtMs) / 1_000);
    if (why !== undefined) this.#refused(notes, response, why, nowMs);
    else if (notes.trace !== undefined && this.#log.isLevelEnabled('debug'))
      this.#log.debug(
        accessLine(factsOfLine(notes, response, why, nowMs)),
        notes.dialect.lines?.end ?? 'answered',
      );
    if (notes.trace?.records === true)
      notes.trace.end(attributesAtEnd(notes, response, why), errorTypeOf(status));
  }

  #refused(notes: RequestNotes, response: Response, why: FailureCode, nowMs: number): void {
    const kind = notes.exchange.cancellation.cancelled ? 'unanswered' : why;
    const leftOut = this.#leftOut(kind, nowMs);
    if (leftOut === undefined && !this.#log.isLevelEnabled('debug')) return;
    const line = accessLine({ ...factsOfLine(notes, response, why, nowMs), leftOut: leftOut || undefined });
    const message = notes.dialect.lines?.end ?? 'refused';
    if (leftOut === undefined) this.#log.debug(line, message);
    else this.#log.info(line, message);
  }

  /** Refusals of this kind that have had no line since the last one; undefined where this one is to have none. */
  #leftOut(kind: string, nowMs: number): number | undefined {
    return this.#log.isLevelEnabled('info') ? this.#sampler.take(kind, nowMs) : undefined;
  }

  /** A request that the listener refused before it was whole, so that it has neither method nor times. */
  refusedByListener(counted: ListenerRefusal | FailureCode, response: Response, nowMs: number): void {
    this.#listenerLine(counted, { ...idsOf(response), status: response.status }, nowMs);
  }

  /** A connection that the listener ended. A request whose client has gone has its line when its answer is there. */
  endedByListener(reason: ListenerRefusal, nowMs: number): void {
    if (reason !== 'unanswered') this.#listenerLine(reason, {}, nowMs);
  }

  #listenerLine(why: ListenerRefusal | FailureCode, facts: Partial<AccessFacts>, nowMs: number): void {
    const leftOut = this.#leftOut(why, nowMs);
    if (leftOut === undefined) return;
    const line = { ...facts, result: why, reason: reasonOf(why), leftOut: leftOut || undefined };
    this.#log.info(accessLine(line), 'refused by the listener');
  }
}

/** Of the call itself. Kids are a caller's text until they are parsed. */
function callOf({ operation, caller, request, works }: RequestNotes) {
  const facts =
    operation === undefined || operation.kind === 'entry' || request === undefined || isBatch(operation)
      ? undefined
      : factsOf(operation, request);
  const uses = works?.flatMap((work) => (isWork(work) ? work.uses : [])) ?? [];
  const used = new Set(uses.map(({ keyId, version }) => formatKid(keyId, version)));
  const kids = used.size > 0 ? [...used] : (facts?.kids ?? []).filter((kid) => parseKid(kid) !== undefined);
  return {
    operation: operation?.name,
    tenant: caller?.tenant,
    actor: caller?.actor,
    kids: kids.length === 0 ? undefined : kids.slice(0, maxKids),
    alg: uses[0]?.alg ?? findAlgorithm(facts?.alg ?? '')?.name,
    items: works === undefined || works.length === 1 ? undefined : works.length,
    opId: facts?.opId,
    payloadB3: facts?.payloadB3,
  };
}

/** The items of a batch are in its works; to read them again for a line would take as long as the call. */
function isBatch(operation: NonNullable<RequestNotes['operation']>): boolean {
  return operation.kind === 'crypto' && operation.batch;
}

function idsOf({ headers }: Response): Pick<AccessFacts, 'requestId' | 'correlationId'> {
  const value = (wanted: string) => headers.find(([name]) => name === wanted)?.[1];
  return { requestId: value('x-request-id'), correlationId: value('x-corr-id') };
}

function factsOfLine(
  notes: RequestNotes,
  response: Response,
  why: FailureCode | undefined,
  nowMs: number,
): AccessFacts {
  const { exchange, dialect, template, startedAtMs, trace } = notes;
  const { listener, address: peer } = exchange.peer();
  const gone = exchange.cancellation.cancelled;
  const [, traceId, spanId] = trace === undefined ? [] : (notes.names().traceparent?.split('-') ?? []);
  return {
    ...idsOf(response),
    ...(dialect.headers === undefined ? { traceId, spanId } : notes.traceIds()),
    ...{ method: methodName(exchange.method), route: template || undefined },
    ...{ status: gone ? undefined : response.status, result: why ?? 'ok' },
    reason: gone ? reasonOf('unanswered') : why && reasonOf(why),
    ...callOf(notes),
    ...{ bodyBytes: exchange.body.length, listener, peer },
    durationMs: nowMs - startedAtMs,
    ...trace?.totals(),
  };
}

function attributesOf(exchange: Exchange, method: string, template: string): Attributes {
  const { listener, address } = exchange.peer();
  return definedOnly({
    'http.request.method': method,
    'http.request.method_original': method === '_OTHER' ? exchange.method.slice(0, 32) : undefined,
    'http.route': template || undefined,
    'url.path': exchange.path,
    'url.scheme': exchange.scheme,
    'network.protocol.name': 'http',
    'network.protocol.version': '1.1',
    'network.transport': listener === 'unix' ? 'unix' : 'tcp',
    'client.address': address,
  });
}

function attributesAtEnd(notes: RequestNotes, response: Response, why: FailureCode | undefined): Attributes {
  const { operation, tenant, kids, alg, items, opId } = callOf(notes);
  const { requestId, correlationId } = idsOf(response);
  return definedOnly({
    'http.response.status_code': notes.exchange.cancellation.cancelled ? undefined : response.status,
    'kms.operation': operation,
    'kms.result': why ?? 'ok',
    'kms.tenant': tenant,
    'kms.kid': kids,
    'kms.algorithm': alg,
    'kms.items': items,
    'kms.op_id': opId,
    'kms.request_id': requestId,
    'kms.correlation_id': correlationId,
  });
}

function definedOnly(attributes: Attributes): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== undefined));
}
