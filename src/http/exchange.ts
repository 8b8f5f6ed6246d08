import type { Cancellation } from '../core/cancellation.ts';
import type { ListenerKind, Peer } from '../core/peer.ts';
import type { ListenerRefusal } from '../observe/refusals.ts';

/** The headers that matter; everything else is left in the listener's buffer. */
export interface RequestHeaders {
  /** Undefined also where there are several, which is refused. */
  readonly authorization: string | undefined;
  readonly severalAuthorizations: boolean;
  readonly contentEncoding: string | undefined;
  readonly requestId: string | undefined;
  readonly correlationId: string | undefined;
  readonly traceparent: string | undefined;
  /** X-KMS-Discharge; several as one list. */
  readonly discharges: string | undefined;
  /** If-None-Match; several as one list. */
  readonly ifNoneMatch?: string | undefined;
  /** X-Deadline-Ms. */
  readonly deadlineMs: string | undefined;
  /** X-Forwarded-For and Forwarded; several as one list. Nobody's word unless a trusted proxy sent them. */
  readonly xForwardedFor: string | undefined;
  readonly forwarded: string | undefined;
  /** X-Approval-Token: the agreement of a second principal. */
  readonly approval?: string | undefined;
  /** X-Client-Certificate. Nobody's word: it counts in development alone. */
  readonly claimedCertificate?: string | undefined;
  /** Origin, of a page in a browser. */
  readonly origin?: string | undefined;
  /** Last-Event-ID, of a reader of events who comes back. */
  readonly lastEventId?: string | undefined;
}

/** Ids of W3C Trace Context, in hex: 32 and 16 characters. */
export interface TraceIds {
  readonly traceId: string;
  readonly spanId: string;
}

/** One request and the way to answer it. Nothing above this interface knows which listener it came from. */
export interface Exchange {
  readonly scheme: 'http' | 'https';
  /** Lower case. */
  readonly method: string;
  /** As sent, still percent-encoded, without the query. */
  readonly path: string;
  /** As sent, without the question mark. */
  readonly query: string;
  readonly headers: RequestHeaders;
  /** Whole, within the body limit, empty when there was none. Only valid until `onExchange` returns. */
  readonly body: Uint8Array;
  /** Cancelled by the listener when the connection is gone. */
  readonly cancellation: Cancellation;
  /** The other end of the connection. Costs a copy of the address: for refusals, and for conditions that depend on it. */
  peer(): Peer;
  /** Sends the whole answer; does nothing when the connection is gone. Called once. */
  respond(response: Response): void;
}

export interface Response {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Left out by the listener where the method is HEAD or the status 304. */
  readonly body: string | Uint8Array;
  /** Ends the connection after the answer. */
  readonly close?: boolean;
  /**
   * In the place of a body, which is then empty: the answer goes on, in chunks, until one side ends it. Called once the head is on its
   * way; not where the connection is gone. No stop of the service waits for it.
   */
  readonly stream?: (to: AnswerStream) => void;
}

/** An answer that goes on. */
export interface AnswerStream {
  /**
   * Undefined: the system has it. A promise: the client is behind; it is settled when there is room again, or the client has gone. Nothing
   * is sent, and no promise given, once it has ended. Not to be called before an earlier promise is settled.
   */
  send(text: string): Promise<void> | undefined;
  /** Idempotent. Drops the connection of a client that is behind. */
  end(): void;
  /** Calls `listener` once it has ended, by whichever side; at once where it has. Called once. */
  onEnd(listener: () => void): void;
}

/**
 * `framing`: where the request ends is in doubt. `malformed`: it is no request of HTTP/1.1 to this host. `forwarded`: a trusted
 * proxy does not say whose it is.
 */
export type ListenerFailure =
  | 'TooLarge'
  | 'LengthRequired'
  | 'HeadersTooLarge'
  | 'SlowBody'
  | 'framing'
  | 'malformed'
  | 'forwarded';

export interface ListenerHandlers {
  onExchange(exchange: Exchange): void;
  /** The answer to a request that the listener refuses, which it sends before closing. Counts it. `path` as in an exchange, or empty. */
  refused(code: ListenerFailure, headers: RequestHeaders, path: string): Response;
  onRefusal(reason: ListenerRefusal): void;
}

/** A way in. One file of listeners/ each; test/contracts/listener.ts says what all of them promise. */
export interface Listener {
  readonly kind: ListenerKind;
  /**
   * Resolves with its URL, `http://host:port` with the port that was taken, or `unix:/path`. Rejects with a StartError where the address
   * cannot be had.
   */
  listen(handlers: ListenerHandlers): Promise<string>;
  /** No new connections; open ones go on. */
  stopAccepting(): void;
  /** Resolves when every answer that was given has left, or its client has gone. */
  drain(): Promise<void>;
  /** Ends every connection, whether `listen` has been called or not. */
  close(): void;
}
