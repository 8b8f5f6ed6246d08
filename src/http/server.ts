import type { RateLimits } from '../admission/rate-limits.ts';
import type { Authenticator } from '../auth/auth.ts';
import type { Clock } from '../core/clock.ts';
import { type Failure, type FailureCode, failure } from '../core/failure.ts';
import { type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { Health } from '../observe/health.ts';
import type { CountedReason, ListenerRefusal } from '../observe/refusals.ts';
import type { RequestPath } from '../request-path.ts';
import { bearerCredentials } from './credentials.ts';
import type { AnyEndpoint, Dialect, Route } from './dialect.ts';
import type { Exchange, ListenerFailure, ListenerHandlers, Response } from './exchange.ts';
import { RequestNotes } from './request-notes.ts';
import { respondAnswer, respondFailure, respondPlain, traceIdsOf } from './respond.ts';
import type { Telemetry } from './telemetry.ts';

export interface ServerParts {
  /** Asked in this order whose a path is. The first has what is nobody's, and requests whose path cannot be read. */
  readonly dialects: readonly [Dialect, ...Dialect[]];
  readonly requestPath: RequestPath;
  readonly health: Health;
  /** Prometheus text exposition, as this caller may see it; undefined: anybody. */
  readonly metrics: (
    caller: Caller | undefined,
  ) => Promise<{ readonly contentType: string; readonly text: string }>;
  /** For the capability of a scrape; all else is the request path's. */
  readonly authenticator: Authenticator;
  /** The answer of /version. */
  readonly version: unknown;
  /** Refusals that one address may cause. */
  readonly refusals: RateLimits;
  readonly clock: Clock;
  /** Absent: nobody is told of requests. */
  readonly telemetry?: Telemetry;
  readonly onRefused: (reason: ListenerRefusal | FailureCode | CountedReason) => void;
  /** Something threw, which is a bug: for the operator's log. */
  readonly onBug: (cause: unknown, requestId: string) => void;
  /** An answer of 500: for the operator's log, by the id that the caller was told. */
  readonly onInternal: (requestId: string) => void;
}

/** Time of a retry while the service stops: another instance, or this one restarted, is there soon. */
const drainRetryMs = 1000;

/** From an exchange to an answer: routing, health and metrics, and the request path for all else. */
export class HttpServer implements ListenerHandlers {
  readonly #parts: ServerParts;
  #draining = false;
  /** The text of /openapi.json, once somebody has asked for it, and the dialect that it is of. */
  #description: { readonly of: Dialect; readonly text: string } | undefined;
  #underWay = 0;
  #idle: (() => void) | undefined;

  constructor(parts: ServerParts) {
    this.#parts = parts;
  }

  /** From now on every call is refused with NotReady. Resolves when those under way are answered; the answers may still be leaving. */
  async drain(): Promise<void> {
    this.#draining = true;
    while (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
  }

  onExchange(exchange: Exchange): void {
    this.#underWay++;
    const dialect = this.#dialectOf(exchange.path);
    const notes = new RequestNotes(exchange, dialect, this.#now(), this.#parts.telemetry?.active(exchange));
    try {
      const own = exchange.headers.severalAuthorizations ? undefined : this.#ownAnswer(exchange, dialect);
      if (own === undefined) {
        this.#call(notes);
        return;
      }
      notes.template = exchange.path;
      if (own instanceof Promise)
        own.then(
          (response) => this.#send(notes, response),
          (cause: unknown) => this.#fail(notes, cause),
        );
      else this.#send(notes, own);
    } catch (cause) {
      this.#fail(notes, cause);
    }
  }

  /** A call that a dialect understands goes through the request path; its answer is presented as it was asked for. */
  #call(notes: RequestNotes): void {
    const { exchange, dialect } = notes;
    const route = this.#route(exchange, dialect);
    if (route.ok) {
      notes.template = route.value.template ?? '';
      notes.endpoint = route.value.endpoint;
    }
    this.#parts.telemetry?.begin(notes);
    if (!route.ok) {
      this.#refuse(notes, route.failure);
      return;
    }
    const { endpoint, named } = route.value;
    const { headers, query } = exchange;
    const answer = this.#parts.requestPath({
      operation: endpoint.operation,
      parse: (body) => endpoint.parse({ named, query, body, headers }),
      body: exchange.body,
      credentials: dialect.credentials?.(exchange) ?? bearerCredentials(exchange),
      deadlineWish: headers.deadlineMs,
      cancellation: exchange.cancellation,
      withinAllowance: () => this.#withinAllowance(exchange),
      notes,
    });
    if (answer instanceof Promise) {
      answer.then(
        (answered) => this.#finish(notes, endpoint, answered),
        (cause: unknown) => this.#fail(notes, cause),
      );
    } else {
      this.#finish(notes, endpoint, answer);
    }
  }

  #dialectOf(path: string): Dialect {
    const { dialects } = this.#parts;
    for (const dialect of dialects) if (dialect.owns(path)) return dialect;
    return dialects[0];
  }

  #route({ method, path, headers }: Exchange, dialect: Dialect): Result<Route> {
    if (headers.severalAuthorizations) return severalAuthorizations;
    if (this.#draining) return { ok: false, failure: failure('NotReady', 'the service stops', drainRetryMs) };
    const route = dialect.find(method, path);
    if (route.ok && !isIdentity(headers.contentEncoding)) return refuse('UnsupportedEncoding');
    return route;
  }

  #finish(notes: RequestNotes, endpoint: AnyEndpoint, answer: Result<unknown>): void {
    if (!answer.ok) {
      this.#refuse(notes, answer.failure, endpoint.hints?.[answer.failure.code]);
      return;
    }
    let response: Response;
    try {
      response = respondAnswer(endpoint.present(answer.value), notes.headers);
    } catch (cause) {
      this.#fail(notes, cause);
      return;
    }
    this.#send(notes, response);
  }

  #refuse(notes: RequestNotes, why: Failure, hint?: string): void {
    const abusive = this.#refused(notes.exchange, why);
    if (why.code === 'Internal') this.#parts.onInternal(notes.names().requestId);
    const close = abusive || this.#draining;
    this.#send(notes, respondFailure(notes.dialect, why, notes.headers, close, hint), why);
  }

  #send(notes: RequestNotes, answer: Response, failure?: Failure): void {
    const { dialect, endpoint, exchange } = notes;
    const nowMs = this.#now();
    const own = dialect.headers === undefined ? answer : withHeaders(answer, dialect.headers(notes.facts()));
    const response =
      notes.receiptId === undefined ? own : withHeaders(own, [['x-receipt-id', notes.receiptId]]);
    this.#parts.telemetry?.answered(notes, response, failure?.code, nowMs);
    exchange.respond(response);
    const { status } = response;
    dialect.answered?.({ endpoint, status, failure, durationMs: nowMs - notes.startedAtMs });
    this.#underWay--;
    if (this.#underWay === 0) this.#idle?.();
  }

  /** True if this was one refusal too many from its address, so that the connection is worth no more than this answer. */
  #refused(exchange: Exchange, { code, countedAs }: Failure): boolean {
    // The listener has counted it already.
    if (exchange.cancellation.cancelled) return false;
    this.#parts.onRefused(countedAs ?? code);
    if (code === 'AddressLimited') return true;
    return (
      faultOfCaller.has(code) && this.#parts.refusals.take(exchange.peer().address ?? '', this.#now()) > 0
    );
  }

  #now(): number {
    return this.#parts.clock.monotonicMs();
  }

  #fail(notes: RequestNotes, cause: unknown): void {
    this.#parts.onBug(cause, notes.names().requestId);
    this.#refuse(notes, failure('Internal'));
  }

  refused(code: ListenerFailure, headers: Exchange['headers'], path: string): Response {
    const counted = code === 'malformed' || code === 'forwarded' ? 'BadRequest' : code;
    this.#parts.onRefused(counted);
    const why =
      code in hints ? failure('BadRequest', hints[code as keyof typeof hints]) : failure(code as FailureCode);
    const dialect = this.#dialectOf(path);
    const answer = respondFailure(dialect, why, headers, true);
    const trace = traceIdsOf(headers, undefined);
    const response =
      dialect.headers === undefined ? answer : withHeaders(answer, dialect.headers({ headers, trace }));
    this.#parts.telemetry?.refusedByListener(counted, response, this.#now());
    dialect.answered?.({ endpoint: undefined, status: response.status, failure: why, durationMs: 0 });
    return response;
  }

  onRefusal(reason: ListenerRefusal): void {
    this.#parts.onRefused(reason);
    this.#parts.telemetry?.endedByListener(reason, this.#now());
  }

  #withinAllowance(exchange: Exchange): boolean {
    return !this.#parts.refusals.exhausted(exchange.peer().address ?? '', this.#now());
  }

  async #metrics(exchange: Exchange): Promise<Response> {
    const { authenticator, clock, metrics } = this.#parts;
    const { headers } = exchange;
    const credentials = bearerCredentials(exchange);
    const mayVerify = () => this.#withinAllowance(exchange);
    const caller =
      credentials.token === undefined
        ? undefined
        : authenticator.authenticate(credentials, {
            utcMs: clock.utcMs(),
            mayVerify,
            bodyBytes: exchange.body.length,
          });
    // Like a scrape without one, so that a capability that expires does not blind who watches; it is counted as a refusal.
    const abusive = caller?.ok === false && this.#refused(exchange, caller.failure);
    const permitted = caller?.ok && caller.value.conditions?.refusal(scrape) === undefined;
    const { contentType, text } = await metrics(permitted ? caller.value : undefined);
    const response = respondPlain(200, contentType, text, headers);
    return abusive ? { ...response, close: true } : response;
  }

  #openapi(headers: Exchange['headers']): Response | undefined {
    const [dialect] = this.#parts.dialects;
    if (dialect.openapi === undefined) return undefined;
    if (this.#description?.of !== dialect) {
      this.#description = { of: dialect, text: JSON.stringify(dialect.openapi()) };
    }
    return respondPlain(200, jsonType, this.#description.text, headers);
  }

  /** Health, metrics and version: no capability needed, and answered while draining. */
  #ownAnswer(exchange: Exchange, dialect: Dialect): Response | Promise<Response> | undefined {
    const { method, path, headers } = exchange;
    const own = dialect.own?.(exchange);
    if (own instanceof Promise) return own.then((presented) => respondAnswer(presented, headers));
    if (own !== undefined) return respondAnswer(own, headers);
    if (method !== 'get' && method !== 'head') return undefined;
    switch (path) {
      case '/healthz': {
        const { degraded } = this.#parts.health.readiness();
        return respondPlain(200, jsonType, JSON.stringify({ status: 'ok', degraded }), headers);
      }
      case '/readyz': {
        const readiness = this.#parts.health.readiness();
        return respondPlain(readiness.ready ? 200 : 503, jsonType, JSON.stringify(readiness), headers);
      }
      case '/version':
        return respondPlain(200, jsonType, JSON.stringify(this.#parts.version), headers);
      case '/openapi.json':
        return this.#openapi(headers);
      case '/metrics':
        return this.#metrics(exchange);
      default:
        return undefined;
    }
  }
}

function withHeaders(response: Response, headers: Response['headers']): Response {
  return { ...response, headers: [...response.headers, ...headers] };
}

const hints = {
  framing: 'send one Content-Length, in digits',
  malformed: 'send HTTP/1.1 with one Host',
  forwarded: 'send X-Forwarded-For or Forwarded, one of them, with an address in each entry',
} as const;

/** A scrape is no operation, so that a capability for some operations or keys sees what anybody sees. */
const scrape = { operation: 'metrics', kids: [], changes: false };

/** Nobody can say which of them counts: a proxy may look at the other one. */
const severalAuthorizations = refuse('BadRequest', 'send one Authorization header');

/** As it is (RFC 9110 section 8.4.1 reserves the word), which is the only way that a body is taken. */
function isIdentity(contentEncoding: string | undefined): boolean {
  return contentEncoding === undefined || contentEncoding.toLowerCase() === 'identity';
}

/** Refusals that a caller who behaves does not cause thousands of times a second. */
const faultOfCaller: ReadonlySet<FailureCode> = new Set([
  'Unauthenticated',
  'NoCapability',
  'BadRequest',
  'MethodNotAllowed',
  'UnsupportedEncoding',
  'TooLarge',
  'ExportForbidden',
]);

const jsonType = 'application/json';
