import type { Credentials } from '../auth/auth.ts';
import type { Failure, FailureCode } from '../core/failure.ts';
import type { Result } from '../core/result.ts';
import type { EntryOperation, Operation } from '../operations/operation.ts';
import type { AnswerStream, Exchange, RequestHeaders, TraceIds } from './exchange.ts';

/**
 * A wire format over the operations, one folder of dialects/: its paths, how it reads requests and writes answers, and its
 * words for failures. It has no logic: what may be done, and what comes of it, is the operations' affair.
 */
export interface Dialect {
  /** Whether a path is one of its own. The first dialect of the list that says so has it; the first of all has the rest. */
  owns(path: string): boolean;
  /** The route of a method, in lower case, and a path as it was sent. Refuses with NotFound, MethodNotAllowed or BadRequest. */
  find(method: string, path: string): Result<Route>;
  presentFailure(failure: Failure, facts: FailureFacts): PresentedFailure;
  /** The description of this surface in OpenAPI 3.1, as JSON can hold it; served at /openapi.json by the first dialect. */
  openapi?(): unknown;
  /** The credentials of a request, where the token is not that of `Authorization: Bearer`. */
  credentials?(exchange: Exchange): Credentials;
  /** An answer for which nobody is asked who he is, such as a probe's; given while the service stops as well. Undefined: it is a call. */
  own?(request: OwnRequest): Presented | Promise<Presented> | undefined;
  /** Further headers of every answer on its paths, of a listener's refusals too. */
  headers?(facts: AnswerFacts): readonly (readonly [name: string, value: string])[];
  /** Told of every answer, its own and those to calls. */
  answered?(answer: DialectAnswer): void;
  /** The messages of its lines in the log, where they are not those of all. */
  readonly lines?: RequestLines;
}

/** `/path` and so on of a request that may have an answer of the dialect's own. */
export type OwnRequest = Pick<Exchange, 'method' | 'path' | 'query' | 'headers'>;

export interface AnswerFacts {
  readonly headers: RequestHeaders;
  readonly trace: TraceIds;
}

export interface DialectAnswer {
  /** Undefined where the path is no route's, or has an answer of the dialect's own. */
  readonly endpoint: AnyEndpoint | undefined;
  readonly status: number;
  /** Undefined where it was not refused. */
  readonly failure: Failure | undefined;
  readonly durationMs: number;
}

/** Messages of lines: at the begin of a call, and at its end. */
export interface RequestLines {
  readonly begin: string;
  readonly end: string;
}

export interface Route {
  readonly endpoint: AnyEndpoint;
  /** The path with names in the place of what differs, `…/keys/{kid}`: for metrics, logs and spans. From a closed list. */
  readonly template?: string;
  /** From the path, percent-decoded: a kid, or the path of an exported log's file. */
  readonly named: string | undefined;
}

/** One operation in a dialect: from a request to what the operation takes, and from its answer to what is sent. */
export interface Endpoint<Request, Answer> {
  readonly operation: Operation<Request, Answer> | EntryOperation<Request, Answer>;
  /** Refuses what is no request of this dialect. */
  parse(request: WireRequest): Result<Request>;
  present(answer: Answer): Presented;
  /** The next step after a refusal of this operation, where the refusal itself says nothing. */
  readonly hints?: Readonly<Partial<Record<FailureCode, string>>>;
}

// biome-ignore lint/suspicious/noExplicitAny: each endpoint's types are its own; the server only carries them from parse to present.
export type AnyEndpoint = Endpoint<any, any>;

/** A request as a listener and the router understood it; nothing in it is checked yet. */
export interface WireRequest extends Pick<Route, 'named'> {
  readonly query: string;
  /** Only valid until `parse` returns. */
  readonly body: Uint8Array;
  /** Those that a request may hold a part of itself in. */
  readonly headers?: Pick<RequestHeaders, 'approval' | 'lastEventId'>;
}

export type Presented =
  /** Plain JSON. */
  | {
      readonly status: number;
      readonly body: unknown;
      readonly headers?: readonly (readonly [string, string])[];
    }
  /** A format that others have defined. */
  | {
      readonly status: number;
      readonly raw: { readonly contentType: string; readonly bytes: Uint8Array };
      readonly cache?: CacheTerms;
    }
  /** An answer that goes on until one side ends it. */
  | { readonly status: number; readonly contentType: string; readonly stream: (to: AnswerStream) => void };

/** Terms on which a client keeps an answer (RFC 9111), and asks whether it is still the same. */
export interface CacheTerms {
  /** With its quotes. */
  readonly etag: string;
  /** The Cache-Control header. */
  readonly control: string;
}

/** The facts of a single answer. */
export interface FailureFacts {
  /** Of the route that refused, where there was one. */
  readonly hint: string | undefined;
  readonly requestId: string;
  /** RFC 3339, UTC, with milliseconds. */
  readonly ts: string;
}

export interface PresentedFailure {
  readonly status: number;
  /** Plain JSON. */
  readonly body: unknown;
  /** The WWW-Authenticate header (RFC 9110 section 11.6.1). */
  readonly challenge?: string;
}
