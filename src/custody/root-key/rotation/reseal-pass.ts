import { pause } from '../../../keys/background.ts';
import type { StoreEntry } from '../../../store/store.ts';
import type { Reseal } from './reseal-records.ts';
import type { ResealingStore } from './resealing-store.ts';

export interface ResealPassParts {
  readonly store: ResealingStore;
  readonly reseal: Reseal;
  /** Pause between two pages, so that calls have the thread; 0 for a command. */
  readonly pauseMs: number;
  /** Told after each page: records that were looked at, and all of them. */
  readonly onProgress: (done: number, total: number) => void;
}

/** A page takes about 1 ms of the main thread, as long as decoding as many records. */
const recordsPerPage = 32;
const countedPerPage = 1_000;

/**
 * Reseals until a pass over the store finds nothing under the root key before. Gives the number of records that were under it.
 * `signal` ends it early. Throws where the store refuses.
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
  // A record that was changed meanwhile is resealed already: the next pass sees that.
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
    // Calls and signals are heard between pages: there may be millions of records.
    await new Promise(setImmediate);
  }
}
