import { KmsError, UnreachableError } from './errors.ts';

export interface RetryOptions {
  /** Attempts beyond the first; 0 for none. */
  readonly retries: number;
  /** `performance.now()` at which no more is tried. */
  readonly deadlineAtMs: number;
  readonly signal?: AbortSignal | undefined;
}

const firstWaitMs = 50;
const longestWaitMs = 2_000;

/**
 * Repeats what failed for a reason that passes. The time that the service gives is waited for; without one, a random part of a time
 * that doubles. Nothing is waited for that ends after the deadline: the failure is thrown at once.
 */
export async function withRetries<T>(options: RetryOptions, attempt: () => Promise<T>): Promise<T> {
  for (let made = 0; ; made++) {
    try {
      return await attempt();
    } catch (error) {
      const waitMs = waitFor(error, made);
      if (waitMs === undefined || made >= options.retries) throw error;
      if (performance.now() + waitMs >= options.deadlineAtMs) throw error;
      await pause(waitMs, options.signal);
    }
  }
}

function waitFor(error: unknown, made: number): number | undefined {
  const randomMs = Math.random() * Math.min(longestWaitMs, firstWaitMs * 2 ** made);
  if (error instanceof KmsError) return error.retryable ? (error.retryAfterMs ?? randomMs) : undefined;
  return error instanceof UnreachableError && error.code !== 'DEADLINE' ? randomMs : undefined;
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
