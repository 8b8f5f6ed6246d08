/** Tells whoever works for a caller that the caller has gone. One per request; plain and cheap, unlike an AbortSignal. */
export interface Cancellation {
  cancelled: boolean;
  /** The thing that is held for the caller at the moment, if any: set by its holder, taken away when it is done. */
  held: Held | undefined;
}

/** An object and not a function: what a closure's context keeps alive outlives several collections of V8's. */
export interface Held {
  /** The caller has gone. */
  abandon(): void;
}

export function createCancellation(): Cancellation {
  return { cancelled: false, held: undefined };
}

export function cancel(cancellation: Cancellation): void {
  if (cancellation.cancelled) return;
  cancellation.cancelled = true;
  cancellation.held?.abandon();
}
