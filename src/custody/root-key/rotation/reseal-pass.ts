import { pause } from '../../../keys/background.ts';
import type { StoreEntry } from '../../../store/store.ts';
import type { Reseal } from './reseal-records.ts';
import type { ResealingStore } from './resealing-store.ts';

export interface ResealPassParts {
  readonly store: ResealingStore;
  readonly reseal: Reseal;
  /** Between two pages, so that calls have the thread; 0 for a command. */
  readonly pauseMs: number;
  /** Records that this pass has looked at, and those that there were when it began. */
  readonly onProgress: (done: number, total: number) => void;
}

/** About 1 ms of the main thread, as long as decoding as many. */
const recordsPerPage = 32;
const countedPerPage = 1_000;

/**
 * Passes over the store until one finds nothing under the root key before. Gives the number of records that were under it; where
 * `signal` ends it, of those so far. Throws where the store refuses.
 */
export async function resealEveryRecord(parts: ResealPassParts, signal: AbortSignal): Promise<number> {
  let records = 0;
  for (;;) {
    const found = await passOver(parts, signal);
    records += found;
    if (found === 0 || signal.aborted) return records;
  }
}

async function passOver(parts: ResealPassParts, signal: AbortSignal): Promise<number> {
  const { store, pauseMs, onProgress } = parts;
  let found = 0;
  let done = 0;
  const total = await recordsIn(store, signal);
  for await (const page of pagesOf(store, recordsPerPage, signal)) {
    found += await resealPage(parts, page);
    done += page.length;
    onProgress(done, Math.max(total, done));
    if (pauseMs > 0) await pause(pauseMs, signal);
  }
  return found;
}

async function resealPage({ store, reseal }: ResealPassParts, page: readonly StoreEntry[]): Promise<number> {
  const changes = page.flatMap(({ key, value, revision }) => {
    const anew = reseal(key, value);
    return anew === undefined ? [] : [{ key, value: anew, expectedRevision: revision }];
  });
  if (changes.length === 0) return 0;
  const outcome = await store.rewrite(changes);
  if (!outcome.ok) throw new Error('the store cannot be written');
  if (outcome.value.committed) return changes.length;
  // One of them was changed meanwhile, and so is sealed anew already: the next pass sees that it is.
  for (const change of changes) {
    const alone = await store.rewrite([change]);
    if (!alone.ok) throw new Error('the store cannot be written');
  }
  return changes.length;
}

async function recordsIn(store: ResealingStore, signal: AbortSignal): Promise<number> {
  let total = 0;
  for await (const page of pagesOf(store, countedPerPage, signal)) total += page.length;
  return total;
}

async function* pagesOf(
  store: ResealingStore,
  limit: number,
  signal: AbortSignal,
): AsyncGenerator<readonly StoreEntry[]> {
  let after: string | undefined;
  while (!signal.aborted) {
    const page = await store.list({ prefix: '', limit, ...(after && { after }) });
    if (!page.ok) throw new Error('the store does not answer');
    yield page.value;
    if (page.value.length < limit) return;
    after = page.value.at(-1)?.key;
    // So that calls and signals are heard: there may be millions.
    await new Promise(setImmediate);
  }
}
