import { type Result, refuse } from '../../src/core/result.ts';
import type { Change, CommitOutcome, ListRange, Store, StoreEntry } from '../../src/store/store.ts';

/** A store that does what another one does until it is told to fail or to wait. */
export class FaultyStore implements Store {
  /** Calls that refuse from now on. `commit-after`: the commit happens and is refused all the same. */
  readonly failing = new Set<'get' | 'list' | 'commit' | 'commit-after'>();
  readonly calls = { get: 0, list: 0, commit: 0 };
  /** Awaited before each commit and each get, if set: holds them back as long as a test needs. */
  beforeCommit: (() => Promise<void>) | undefined;
  afterGet: ((key: string) => Promise<void>) | undefined;
  readonly #inner: Store;

  constructor(inner: Store) {
    this.#inner = inner;
  }

  get durable(): boolean {
    return this.#inner.durable;
  }

  async get(key: string): Promise<Result<StoreEntry | undefined>> {
    this.calls.get += 1;
    if (this.failing.has('get')) return refuse('StoreUnavailable');
    const entry = await this.#inner.get(key);
    await this.afterGet?.(key);
    return entry;
  }

  async list(range: ListRange): Promise<Result<readonly StoreEntry[]>> {
    this.calls.list += 1;
    return this.failing.has('list') ? refuse('StoreUnavailable') : this.#inner.list(range);
  }

  async commit(changes: readonly Change[]): Promise<Result<CommitOutcome>> {
    this.calls.commit += 1;
    await this.beforeCommit?.();
    if (this.failing.has('commit')) return refuse('StoreUnavailable');
    const outcome = await this.#inner.commit(changes);
    return this.failing.has('commit-after') ? refuse('StoreUnavailable') : outcome;
  }

  watch(...watching: Parameters<Store['watch']>): () => void {
    return this.#inner.watch(...watching);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}
