import type { Failure } from '../core/failure.ts';
import type { Caller } from '../core/scope.ts';
import type { ActiveRequests } from '../observe/series/http-metrics.ts';
import type { RequestNames, RequestTrace } from '../observe/tracing.ts';
import type { CallNotes, CryptoWork } from '../operations/operation.ts';
import type { AnyEndpoint } from './dialect.ts';
import type { Exchange, RequestHeaders } from './exchange.ts';
import { requestNamesOf } from './respond.ts';

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
  operation: AnyEndpoint['operation'] | undefined = undefined;
  trace: RequestTrace | undefined = undefined;
  caller: Caller | undefined = undefined;
  request: unknown = undefined;
  works: readonly (CryptoWork | Failure)[] | undefined = undefined;
  receiptId: string | undefined = undefined;
  #names: RequestNames | undefined = undefined;

  constructor(exchange: Exchange, startedAtMs: number, active: ActiveRequests | undefined) {
    this.exchange = exchange;
    this.startedAtMs = startedAtMs;
    this.active = active;
    this.headers = exchange.headers;
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
