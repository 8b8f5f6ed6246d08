import { BoundedCache } from '../../../core/bounded-cache.ts';
import { type Result, refuse } from '../../../core/result.ts';
import type { Change, CommitOutcome, ListRange, Store } from '../../../store/store.ts';
import type { Reseal } from './reseal-records.ts';

/** Milliseconds lie between the read of a record and its change; a rotation rewrites some 20,000 records a second. */
const maxMoves = 65_536;

/**
 * The store of a service whose root key may be rotated. From a rotation's begin each commit is resealed under the new root key.
 * So a scan that begins later misses nothing.
 */
export class ResealingStore implements Store {
  readonly #store: Store;
  #reseal: Reseal | undefined;
  /** Revisions of records that were only resealed: a reader of the earlier one knows the present value. */
  readonly #moved = new BoundedCache<string, { readonly from: number; readonly to: number }>(maxMoves);

  #rewriting: Promise<unknown> | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  get durable(): boolean {
    return this.#store.durable;
  }

  get integrity() {
    return this.#store.integrity;
  }

  /** Undefined: nothing goes over any more. */
  goOver(reseal: Reseal | undefined): void {
    this.#reseal = reseal;
  }

  get(key: string) {
    return this.#store.get(key);
  }

  list(range: ListRange) {
    return this.#store.list(range);
  }

  commit(changes: readonly Change[]): Promise<Result<CommitOutcome>> {
    if (this.#reseal === undefined && this.#moved.size === 0) return this.#store.commit(changes);
    return this.#commitAsOfNow(changes);
  }

  async #commitAsOfNow(changes: readonly Change[]): Promise<Result<CommitOutcome>> {
    let now: readonly Change[];
    try {
      now = changes.map((change) => this.#asOfNow(change));
    } catch {
      // Nothing is written under the old root key any more.
      return refuse('StoreUnavailable', undefined, 1_000);
    }
    const outcome = await this.#store.commit(now);
    if (!outcome.ok || outcome.value.committed) return outcome;
    // A record may have been resealed at this very moment.
    await this.#rewriting;
    const again = now.map((change) => this.#moveOn(change));
    return again.some((change, index) => change !== now[index]) ? this.#store.commit(again) : outcome;
  }

  /** Writes records anew that say what they said, where they are what was read. One at a time. */
  rewrite(changes: readonly (Change & { readonly expectedRevision: number })[]) {
    const rewriting = this.#rewrite(changes);
    this.#rewriting = rewriting;
    return rewriting;
  }

  async #rewrite(changes: readonly (Change & { readonly expectedRevision: number })[]) {
    const outcome = await this.#store.commit(changes);
    if (outcome.ok && outcome.value.committed) {
      const to = outcome.value.revision;
      for (const { key, expectedRevision } of changes) this.#moved.set(key, { from: expectedRevision, to });
    }
    return outcome;
  }

  watch(...of: Parameters<Store['watch']>) {
    return this.#store.watch(...of);
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #asOfNow(change: Change): Change {
    const { key, value } = change;
    const anew = value === undefined ? undefined : this.#reseal?.(key, value);
    return this.#moveOn(anew === undefined ? change : { ...change, value: anew });
  }

  #moveOn(change: Change): Change {
    const moved = this.#moved.get(change.key);
    return moved !== undefined && moved.from === change.expectedRevision
      ? { ...change, expectedRevision: moved.to }
      : change;
  }
}
