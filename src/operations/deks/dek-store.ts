import { BoundedCache } from '../../core/bounded-cache.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { RecordMac } from '../../keys/authenticity.ts';
import type { Store } from '../../store/store.ts';
import type { Step } from '../operation.ts';
import { type Dek, decodeDek, dekPrefix, dekStoreKey, encodeDek, isDekId } from './dek.ts';

const badDekId = refuse(
  'BadRequest',
  'key_id: letters, digits, dot, underscore, colon and hyphen, at most 128',
);
export const noSuchDek = refuse('NotFound', 'there is no DEK of this id');
export const dekDestroyed = refuse('Conflict', 'the DEK is destroyed');
/** A record takes some 400 bytes: 6.5 MB in all. */
const maxCached = 16_384;

export interface StoredDek {
  readonly dek: Dek;
  readonly revision: number;
}

/** `changed`: another writer came first. `behind`: the KEK was rotated since. */
export type PutOutcome = 'put' | 'changed' | 'behind';

export interface DekStoreParts {
  readonly store: Store;
  readonly mac: RecordMac;
  /** For the operator's log: this record cannot be read, or is not authentic. Must not throw. */
  readonly onCorruptRecord: (storeKey: string) => void;
}

/** The only reader and writer of records of DEKs. */
export class DekStore {
  readonly #parts: DekStoreParts;
  readonly #cache = new BoundedCache<string, StoredDek>(maxCached);
  #leastKek = 0;
  /** Commits whose outcome is not known yet. */
  readonly #underWay = new Set<Promise<unknown>>();
  /** Grows with each commit: a record that was read before it may be old. */
  #changes = 0;

  constructor(parts: DekStoreParts) {
    this.#parts = parts;
  }

  /** Answers without a promise where the DEK is cached. Destroyed ones are found, too. BadRequest: no DEK can have this id. */
  find(id: string): Step<StoredDek | undefined> {
    const cached = this.#cache.get(id);
    if (cached !== undefined) return ok(cached);
    return isDekId(id) ? this.#read(id) : badDekId;
  }

  /** A DEK that encrypts and decrypts. NotFound: there is none. Conflict: it is destroyed. */
  async findActive(id: string): Promise<Result<StoredDek>> {
    const found = await this.find(id);
    if (!found.ok) return found;
    if (found.value === undefined) return noSuchDek;
    return found.value.dek.state === 'destroyed' ? dekDestroyed : ok(found.value);
  }

  /** The revision of the record, even of one that cannot be read; 0 where there is none. */
  async revisionOf(id: string): Promise<Result<number>> {
    if (!isDekId(id)) return badDekId;
    const entry = await this.#parts.store.get(dekStoreKey(id));
    return entry.ok ? ok(entry.value?.revision ?? 0) : entry;
  }

  /**
   * No put from now on adds a version that a KEK before `leastKek` wraps. Puts that began earlier are in the store when it resolves.
   */
  async fence(leastKek: number): Promise<void> {
    this.#leastKek = leastKek;
    await Promise.allSettled([...this.#underWay]);
  }

  /** Durable when it resolves. `before` undefined: the id must be free. */
  put(dek: Dek, before: StoredDek | undefined): Promise<Result<PutOutcome>> {
    return this.putAll([{ dek, before }]);
  }

  /** Puts all of them or none. */
  async putAll(
    changes: readonly { readonly dek: Dek; readonly before: StoredDek | undefined }[],
  ): Promise<Result<PutOutcome>> {
    if (changes.some((change) => this.#isTooOld(change))) return ok('behind');
    const { store, mac } = this.#parts;
    const committing = store.commit(
      changes.map(({ dek, before }) => ({
        key: dekStoreKey(dek.id),
        value: encodeDek(dek, mac),
        expectedRevision: before?.revision ?? 0,
      })),
    );
    this.#underWay.add(committing);
    const outcome = await committing.finally(() => this.#underWay.delete(committing));
    this.#changes++;
    // A commit that was refused may have happened all the same.
    for (const { dek } of changes) this.#cache.delete(dek.id);
    if (!outcome.ok) return outcome;
    const { value: committed } = outcome;
    if (committed.committed)
      for (const { dek } of changes) this.#cache.set(dek.id, { dek, revision: committed.revision });
    return ok(committed.committed ? 'put' : 'changed');
  }

  /** DEKs in the order of their ids, after this one. Unreadable records are reported, counted, and left out. */
  async page(after: string | undefined, limit: number): Promise<Result<DekPage>> {
    const page = await this.#parts.store.list({
      ...{ prefix: dekPrefix, limit },
      ...(after === undefined ? undefined : { after: dekStoreKey(after) }),
    });
    if (!page.ok) return page;
    let unread = 0;
    const deks = page.value.flatMap(({ key, value, revision }) => {
      const dek = decodeDek(key, value, this.#parts.mac);
      if (dek === undefined) {
        unread++;
        this.#parts.onCorruptRecord(key);
      }
      return dek === undefined ? [] : [{ dek, revision }];
    });
    const last = page.value.length < limit ? undefined : page.value.at(-1)?.key.slice(dekPrefix.length);
    return ok({ deks, last, unread });
  }

  #isTooOld({ dek, before }: { readonly dek: Dek; readonly before: StoredDek | undefined }): boolean {
    const there = new Set(before?.dek.versions);
    return dek.versions.some((version) => version.kek < this.#leastKek && !there.has(version));
  }

  async #read(id: string): Promise<Result<StoredDek | undefined>> {
    const key = dekStoreKey(id);
    const changesBefore = this.#changes;
    const entry = await this.#parts.store.get(key);
    if (!entry.ok) return entry;
    if (entry.value === undefined) return ok(undefined);
    const dek = decodeDek(key, entry.value.value, this.#parts.mac);
    if (dek === undefined) {
      this.#parts.onCorruptRecord(key);
      return refuse('Internal');
    }
    const found = { dek, revision: entry.value.revision };
    // A change that came meanwhile has cached a newer record.
    const cached = this.#cache.get(id);
    if (cached !== undefined && cached.revision > found.revision) return ok(cached);
    // An old record must not hide a change that has left the cache since: a destroyed DEK would decrypt.
    if (changesBefore === this.#changes) this.#cache.set(id, found);
    return ok(found);
  }
}

export interface DekPage {
  readonly deks: readonly StoredDek[];
  /** Records that cannot be read, or are not authentic. */
  readonly unread: number;
  /** The id after which the next page begins; undefined behind the last page. */
  readonly last: string | undefined;
}
