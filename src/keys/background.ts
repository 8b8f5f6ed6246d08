import { setTimeout as delay } from 'node:timers/promises';
import type { Store, StoreEntry } from '../store/store.ts';

/** A page is worked through in one go on the main thread: about 1 ms. */
const entriesPerPage = 256;
/** So that signatures get the main thread at least four fifths of the time. */
const pauseMs = 5;
const retryMs = 1_000;

/** Walks over all records under a prefix in small steps; ends early when `signal` says so. Never rejects. */
export async function walk(
  store: Store,
  prefix: string,
  signal: AbortSignal,
  onPage: (entries: readonly StoreEntry[]) => void | Promise<void>,
): Promise<void> {
  let after: string | undefined;
  while (!signal.aborted) {
    const page = await store.list({
      prefix,
      limit: entriesPerPage,
      ...(after === undefined ? undefined : { after }),
    });
    if (!page.ok) {
      await pause(retryMs, signal);
      continue;
    }
    if (signal.aborted) return;
    await onPage(page.value);
    if (page.value.length < entriesPerPage) return;
    after = page.value.at(-1)?.key;
    await pause(pauseMs, signal);
  }
}

/** Does not keep the process alive; returns at once when the signal comes. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { ref: false, signal });
  } catch {
    // Aborted: the caller looks at the signal.
  }
}
