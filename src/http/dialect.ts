import type { Credentials } from '../auth/auth.ts';
import type { Failure, FailureCode } from '../core/failure.ts';
import type { Result } from '../core/result.ts';
import type { EntryOperation, Operation } from '../operations/operation.ts';
import type { AnswerStream, Exchange } from './exchange.ts';

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
