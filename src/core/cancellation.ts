/** Tells whoever works for a caller that the caller has gone. One per request; plain and cheap, unlike an AbortSignal. */
export interface Cancellation {
  cancelled: boolean;
  /** Set by the one part that holds the call at the moment. */
  onCancel: (() => void) | undefined;
}

export function createCancellation(): Cancellation {
  return { cancelled: false, onCancel: undefined };
}

export function cancel(cancellation: Cancellation): void {
  if (cancellation.cancelled) return;
  cancellation.cancelled = true;
  cancellation.onCancel?.();
}
