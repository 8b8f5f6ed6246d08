import { setImmediate } from 'node:timers/promises';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Store, StoreEntry } from '../store/store.ts';
import type { RecordMac } from './authenticity.ts';
import { decodeHead, decodeVersion, headKey, versionKey, versionPrefix } from './codec.ts';
import type { Kid } from './kid.ts';
import type { KeyHead, KeyVersion } from './record.ts';

export interface Revised<T> {
  readonly record: T;
  readonly revision: number;
}

/** A page is decoded in one go on the main thread, at most about 1 ms. */
const versionsPerPage = 64;

/**
 * Reads key records. A record that cannot be decoded or is not authentic is told to the operator and is Internal: a retry will
 * not help.
 */
export class KeyRecords {
  readonly #store: Store;
  readonly #mac: RecordMac;
  readonly #onCorruptRecord: (storeKey: string) => void;

  constructor(store: Store, mac: RecordMac, onCorruptRecord: (storeKey: string) => void) {
    this.#store = store;
    this.#mac = mac;
    this.#onCorruptRecord = onCorruptRecord;
  }

  corrupt(storeKey: string) {
    this.#onCorruptRecord(storeKey);
    return refuse('Internal');
  }

  async head(id: string): Promise<Result<Revised<KeyHead> | undefined>> {
    return this.#read(headKey(id), (storeKey, bytes) => decodeHead(storeKey, bytes, this.#mac));
  }

  /** The head in an entry of a listing; one that is corrupt is told, and does not hide the others. */
  headIn({ key, value }: StoreEntry): KeyHead | undefined {
    const head = decodeHead(key, value, this.#mac);
    if (head === undefined) this.corrupt(key);
    return head;
  }

  async version(kid: Kid, version: number): Promise<Result<Revised<KeyVersion> | undefined>> {
    return this.#read(versionKey(kid.id, version), (storeKey, bytes) =>
      decodeVersion(storeKey, kid, bytes, this.#mac),
    );
  }

  /** The head together with its current version, as one commit wrote them. */
  async current(kid: Kid): Promise<Result<{ head: KeyHead; version: KeyVersion } | undefined>> {
    let before: Result<Revised<KeyHead> | undefined> = await this.head(kid.id);
    for (;;) {
      if (!before.ok) return before;
      if (before.value === undefined) return ok(undefined);
      const { record: head, revision } = before.value;
      const version = await this.version(kid, head.currentVersion);
      if (!version.ok) return version;
      if (version.value?.record.state === head.state) return ok({ head, version: version.value.record });
      // A commit came between the two reads, or else the records contradict each other.
      before = await this.head(kid.id);
      if (before.ok && before.value?.revision === revision) {
        return this.corrupt(versionKey(kid.id, head.currentVersion));
      }
    }
  }

  /** All versions, oldest first, with pauses for the event loop. */
  async versions(kid: Kid): Promise<Result<readonly Revised<KeyVersion>[]>> {
    const found: Revised<KeyVersion>[] = [];
    let after: string | undefined;
    for (;;) {
      const page = await this.#store.list({
        prefix: versionPrefix(kid.id),
        limit: versionsPerPage,
        ...(after === undefined ? undefined : { after }),
      });
      if (!page.ok) return page;
      const decoded = this.#versionsIn(kid, page.value);
      if (!decoded.ok) return decoded;
      found.push(...decoded.value);
      if (page.value.length < versionsPerPage) return ok(found);
      after = page.value.at(-1)?.key;
      await setImmediate();
    }
  }

  async newestVersions(kid: Kid, limit: number): Promise<Result<readonly Revised<KeyVersion>[]>> {
    const page = await this.#store.list({ prefix: versionPrefix(kid.id), limit, reverse: true });
    return page.ok ? this.#versionsIn(kid, page.value) : page;
  }

  #versionsIn(kid: Kid, entries: readonly StoreEntry[]): Result<readonly Revised<KeyVersion>[]> {
    const versions: Revised<KeyVersion>[] = [];
    for (const { key, value, revision } of entries) {
      const record = decodeVersion(key, kid, value, this.#mac);
      if (record === undefined) return this.corrupt(key);
      versions.push({ record, revision });
    }
    return ok(versions);
  }

  async #read<T>(
    storeKey: string,
    decode: (storeKey: string, bytes: Uint8Array) => T | undefined,
  ): Promise<Result<Revised<T> | undefined>> {
    const entry = await this.#store.get(storeKey);
    if (!entry.ok) return entry;
    if (entry.value === undefined) return ok(undefined);
    const record = decode(storeKey, entry.value.value);
    return record === undefined ? this.corrupt(storeKey) : ok({ record, revision: entry.value.revision });
  }
}
