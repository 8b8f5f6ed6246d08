import { checkPrefix } from './bounds.ts';
import type { Change, Store } from './store.ts';

export type WatchListener = Parameters<Store['watch']>[1];

/** Listeners by prefix, told in the order of registration. A listener that throws is a bug and ends as an uncaught exception. */
export class Watchers {
  readonly #listeners = new Set<{ readonly prefix: string; readonly listener: WatchListener }>();

  add(prefix: string, listener: WatchListener): () => void {
    checkPrefix(prefix);
    const entry = { prefix, listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  tell(changes: readonly Change[], revision: number): void {
    if (this.#listeners.size === 0) return;
    for (const { key, value } of changes) {
      for (const { prefix, listener } of [...this.#listeners]) {
        if (!key.startsWith(prefix)) continue;
        try {
          listener(value === undefined ? { key, value, revision } : { key, value: value.slice(), revision });
        } catch (error) {
          // The commit is done and its caller must hear so, whatever a listener does.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    }
  }

  clear(): void {
    this.#listeners.clear();
  }
}
