import type { Result } from '../core/result.ts';
import type { StoreIntegrity } from './integrity.ts';

/** One stored value. Keys are ASCII text of at most 512 bytes; values are at most 1 MiB. */
export interface StoreEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** Grows with every change of this store; the revision of the commit that last wrote this key. At least 1. */
  readonly revision: number;
}

/** One change of a commit. */
export interface Change {
  readonly key: string;
  /** The new value; undefined deletes the key. */
  readonly value: Uint8Array | undefined;
  /** Compare-and-swap: the revision that the key must have now, 0 = it must not exist; undefined = whatever it has. */
  readonly expectedRevision?: number;
}

export type CommitOutcome =
  | { readonly committed: true; readonly revision: number }
  /** Some key did not have its expected revision; nothing was changed. */
  | { readonly committed: false };

export interface ListRange {
  readonly prefix: string;
  /** Only keys greater than this one, in byte order. */
  readonly after?: string;
  /** At most this many entries, 1 to 1,000. */
  readonly limit: number;
  /** The greatest keys first; `after` then means smaller than. */
  readonly reverse?: boolean;
}

/**
 * The place of records. Safe for concurrent use within one process. A store that cannot answer refuses with StoreUnavailable
 * and has then changed nothing, or changed everything: a caller that must know reads back.
 */
export interface Store {
  /** True if a commit survives the end of the process. */
  readonly durable: boolean;
  /** Of a store that others can change while it is closed; absent of one that is gone then. */
  readonly integrity?: StoreIntegrity | undefined;
  get(key: string): Promise<Result<StoreEntry | undefined>>;
  /** In byte order of the keys. */
  list(range: ListRange): Promise<Result<readonly StoreEntry[]>>;
  /** All changes or none; at most 10,000. When it resolves the commit is as durable as this store can make it. */
  commit(changes: readonly Change[]): Promise<Result<CommitOutcome>>;
  /** Calls the listener for every committed change under the prefix, in commit order, until the returned function is called. */
  watch(
    prefix: string,
    listener: (change: StoreEntry | { key: string; value: undefined; revision: number }) => void,
  ): () => void;
  /** Waits for commits under way. Idempotent; afterwards every call refuses with StoreUnavailable. */
  close(): Promise<void>;
}
