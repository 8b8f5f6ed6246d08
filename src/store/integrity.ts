import type { MacKey } from '../core/mac-key.ts';
import type { Result } from '../core/result.ts';

/** A record that is not the one that was written last under this store key. */
export interface RecordDifference {
  readonly key: string;
  readonly what: 'removed' | 'added' | 'replaced';
}

export interface StoreFailure {
  /** 16 hexadecimal digits, the same as long as the store is: whoever accepts says by it what was looked at. */
  readonly id: string;
  /**
   * `head_missing`: there were heads, and there is none. `head_rejected`: it is not authentic. `records_differ`: it is, and is of
   * other records. `revision_back`: the store's revision is smaller than the head's.
   */
  readonly reason: 'head_missing' | 'head_rejected' | 'records_differ' | 'revision_back';
  /** The first of them, in the order of their keys. None: the index of the records was changed along with them. */
  readonly differences: readonly RecordDifference[];
  readonly differing: number;
}

/** `unsealed`: no commit of this store had a head yet. */
export type StoreCheck =
  | { readonly state: 'whole' | 'unsealed'; readonly records: number }
  | { readonly state: 'broken'; readonly failure: StoreFailure };

/**
 * The head over all records of a store. It is part of every commit once the store is sealed, so that whatever changes the records
 * in another way is seen at the next start.
 */
export interface StoreIntegrity {
  /**
   * Reads every record and holds all of them against the head. Where they are whole, each commit from now on has its head.
   * `sealed`: somebody outside of the store knows that it had one. Nothing may be committed meanwhile.
   */
  check(key: MacKey, sealed: boolean): Promise<Result<StoreCheck>>;
  /** Takes the records as they are: of a store that has no head yet, or that an operator has accepted. */
  seal(key: MacKey): Promise<Result<{ readonly records: number }>>;
  /**
   * The head is sealed under this key from now on, as a rotation of the root key wants it. Commits go on meanwhile; killed in
   * between, it is under the key of before. Conflict: it is being done already.
   */
  reseal(key: MacKey): Promise<Result<void>>;
}

/** In words for the operator, one line; at most as many records as a line is read for. */
export function describeFailure({ reason, differences, differing }: StoreFailure): string {
  const named = differences.slice(0, maxNamed).map(({ key, what }) => `${key} ${inWords[what]}`);
  const others = differing > named.length ? [`${differing - named.length} others differ`] : [];
  const unnamed = reason === 'records_differ' && named.length === 0 ? [unnamedRecords] : [];
  return [reasons[reason], ...named, ...others, ...unnamed].join('; ');
}

const maxNamed = 8;
const inWords = {
  removed: 'was removed',
  added: 'was put there',
  replaced: 'is not the record that was written last',
} as const;
const reasons = {
  head_missing: 'the head over its records is gone: it is an older copy, or somebody wrote into it',
  head_rejected: 'the head over its records is not authentic',
  records_differ: 'its records are not those that were written last',
  revision_back: 'its revision went back',
} as const;
const unnamedRecords = 'which ones cannot be said: what is remembered of each was changed with it';
