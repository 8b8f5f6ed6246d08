import type { Cancellation } from '../core/cancellation.ts';
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
  /** X-Deadline-Ms. */
  readonly deadlineMs: string | undefined;
}

/** One request and the way to answer it. Nothing above this interface knows which listener it came from. */
export interface Exchange {
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
  /** The other end's address without its port; empty once the connection is gone. Costs a copy: for refusals only. */
  remoteAddress(): string;
  /**
   * Sends the whole answer; does nothing when the connection is gone. Called once. A promise where the system does not
   * take all of it at once: it resolves when the rest has left, or the connection is gone.
   */
  respond(response: Response): Promise<void> | undefined;
}

export interface Response {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string | Uint8Array;
  /** Ends the connection after the answer. */
  readonly close?: boolean;
}

/** `framing`: where the request ends is in doubt. */
export type ListenerFailure = 'TooLarge' | 'LengthRequired' | 'HeadersTooLarge' | 'SlowBody' | 'framing';

export interface ListenerHandlers {
  onExchange(exchange: Exchange): void;
  /** The answer to a request that the listener refuses, which it sends before closing. Counts it. */
  refused(code: ListenerFailure, headers: RequestHeaders): Response;
  onRefusal(reason: ListenerRefusal): void;
}

export interface Listener {
  /** `http://host:port` with the port that was taken. */
  readonly url: string;
  /** No new connections; open ones go on. */
  stopAccepting(): void;
  /** Ends every connection. */
  close(): void;
}
