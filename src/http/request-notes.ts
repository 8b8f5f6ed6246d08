import type { Failure } from '../core/failure.ts';
import type { Caller } from '../core/scope.ts';
import type { ActiveRequests } from '../observe/series/http-metrics.ts';
import type { RequestNames, RequestTrace } from '../observe/tracing.ts';
import type { CallNotes, CryptoWork } from '../operations/operation.ts';
import type { AnswerFacts, AnyEndpoint, Dialect } from './dialect.ts';
import type { Exchange, RequestHeaders, TraceIds } from './exchange.ts';
import { requestNamesOf, traceIdsOf } from './respond.ts';

/** One exchange with all that becomes known of it. One for each request, so it holds references and makes nothing. */
export class RequestNotes implements CallNotes {
  readonly exchange: Exchange;
  /** On the monotonic clock, when the request was whole. */
  readonly startedAtMs: number;
  /** Where it is counted as long as it is under way. */
  readonly active: ActiveRequests | undefined;
  /** The exchange's, with the id that the answer has, once that is made. */
  headers: RequestHeaders;
  /** The template of the path; empty where there is none. */
  template = '';
  endpoint: AnyEndpoint | undefined = undefined;
  /** Whose path it is. */
  readonly dialect: Dialect;
  trace: RequestTrace | undefined = undefined;
  caller: Caller | undefined = undefined;
  request: unknown = undefined;
  works: readonly (CryptoWork | Failure)[] | undefined = undefined;
  receiptId: string | undefined = undefined;
  #names: RequestNames | undefined = undefined;
  #traceIds: TraceIds | undefined = undefined;

  constructor(exchange: Exchange, dialect: Dialect, startedAtMs: number, active: ActiveRequests | undefined) {
    this.exchange = exchange;
    this.dialect = dialect;
    this.startedAtMs = startedAtMs;
    this.active = active;
    this.headers = exchange.headers;
  }

  get operation(): AnyEndpoint['operation'] | undefined {
    return this.endpoint?.operation;
  }

  /** Made when they are first asked for. */
  traceIds(): TraceIds {
    this.#traceIds ??= traceIdsOf(this.exchange.headers, this.trace?.traceparent);
    return this.#traceIds;
  }

  facts(): AnswerFacts {
    return { headers: this.exchange.headers, trace: this.traceIds() };
  }

  names(): RequestNames {
    if (this.#names !== undefined) return this.#names;
    const given = requestNamesOf(this.exchange.headers);
    const { requestId, correlationId } = given;
    this.headers = { ...this.exchange.headers, requestId, correlationId };
    this.#names = { requestId, correlationId, traceparent: this.trace?.traceparent ?? given.traceparent };
    return this.#names;
  }
}
