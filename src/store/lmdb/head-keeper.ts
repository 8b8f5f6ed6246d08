import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { MacKey } from '../../core/mac-key.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { StoreCheck, StoreFailure, StoreIntegrity } from '../integrity.ts';
import { MultisetHash } from '../multiset-hash.ts';
import {
  elementOf,
  type HeadKeys,
  headKeysOf,
  isOfSameRecords,
  openHead,
  type SealedHead,
  sealHead,
} from '../sealed-head.ts';
import type { CommitOutcome } from '../store.ts';
import type { Environment } from './environment.ts';
import { compareIndex, countRecords, eachRecord, indexEntryOf } from './record-index.ts';

/** One record of a write as it was and as it will be, with its revision before the value. */
export interface Replaced {
  readonly key: Buffer;
  readonly before: Buffer | undefined;
  readonly after: Buffer | undefined;
}

/** What belongs into the write with them. */
export interface HeadChange {
  readonly head: Buffer;
  /** Undefined: the record is gone. */
  readonly digests: readonly { readonly key: Buffer; readonly digest: Buffer | undefined }[];
  /** The write is on the disk. */
  done(): void;
}

export interface HeadKeeperParts {
  readonly environment: Environment;
  isClosed(): boolean;
  readonly report: (error: unknown) => void;
  /** Runs it while no write is under way. */
  betweenWrites<T>(run: () => T): Promise<T>;
  /** A write that changes nothing but the head. */
  writeHead(): Promise<Result<CommitOutcome>>;
}

/** Records that are counted in one go on the main thread: about 2 ms. */
const recordsPerTurn = 200;
/** Entries of the index in one write, when it is made anew: about 100 ms, and a few MiB. */
const entriesPerWrite = 10_000;

/** The records as a head counts them. */
interface Counted {
  readonly keys: HeadKeys;
  readonly records: MultisetHash;
}

/** A second count under other keys: of the records up to and with `cursor`; undefined: of all. */
interface NextCount {
  readonly keys: HeadKeys;
  records: MultisetHash;
  cursor: Buffer | undefined;
}

/**
 * Keeps the head of the store: one count of all records, which each write carries on. A change costs two MACs and one more
 * entry in the same write.
 */
export class HeadKeeper implements StoreIntegrity {
  readonly #parts: HeadKeeperParts;
  #counted: Counted | undefined;
  #next: NextCount | undefined;

  constructor(parts: HeadKeeperParts) {
    this.#parts = parts;
  }

  /** True once writes have heads. */
  get keeps(): boolean {
    return this.#counted !== undefined;
  }

  /** Undefined where the store was not sealed by this process: the head that is there stays, and no longer fits. */
  change(replaced: readonly Replaced[], revision: number): HeadChange | undefined {
    const counted = this.#counted;
    if (counted === undefined) return undefined;
    const records = counted.records.clone();
    const counting = this.#next;
    const next = counting && { ...counting, records: counting.records.clone() };
    const digests = replaced.map(({ key, before, after }) => {
      const isNext = next !== undefined && isCounted(next, key);
      if (before !== undefined) {
        const { bytes } = elementOf(key, before);
        records.remove(bytes);
        if (isNext) next.records.remove(bytes);
      }
      if (after === undefined) return { key, digest: undefined };
      const element = elementOf(key, after);
      records.add(element.bytes);
      if (isNext) next.records.add(element.bytes);
      return { key, digest: indexEntryOf(element) };
    });
    const goesOver = next !== undefined && next.cursor === undefined;
    const after: Counted = goesOver ? next : { keys: counted.keys, records };
    return {
      head: sealHead(after.keys, { revision, records: after.records }),
      digests,
      done: () => {
        this.#counted = after;
        // A count that was begun during this write has no record yet, and goes on.
        if (this.#next === counting) this.#next = goesOver ? undefined : next;
      },
    };
  }

  /** After a write that failed, and perhaps did not: the file knows. */
  readAgain(): void {
    if (this.#counted === undefined) return;
    const candidates = [this.#counted.keys, ...(this.#next ? [this.#next.keys] : [])];
    // A head that is being counted anew is begun again by whoever wants it.
    this.#next = undefined;
    try {
      const stored = this.#parts.environment.head();
      for (const keys of candidates) {
        const head = openHead(keys, stored);
        if (head !== undefined) this.#counted = { keys, records: head.records };
      }
    } catch (error) {
      this.#parts.report(error);
    }
  }

  async check(key: MacKey, sealed: boolean): Promise<Result<StoreCheck>> {
    return this.#whileOpen(async () => {
      const { environment } = this.#parts;
      const keys = headKeysOf(key);
      const stored = environment.head();
      if (stored.length === 0 && !sealed) return { state: 'unsealed', records: 0 };
      const head = openHead(keys, stored);
      const records = await countRecords(environment, keys.multiset);
      const reason = reasonAgainst(stored, head, records, environment.revision());
      if (reason !== undefined) {
        const failure = { id: idOf(stored, records), reason, ...(await compareIndex(environment)) };
        return { state: 'broken', failure };
      }
      this.#counted = { keys, records };
      return { state: 'whole', records: records.count };
    });
  }

  async seal(key: MacKey): Promise<Result<{ readonly records: number }>> {
    return this.#whileOpen(async () => {
      const { environment } = this.#parts;
      const keys = headKeysOf(key);
      await this.#writeIndex();
      const records = await countRecords(environment, keys.multiset);
      const before = environment.revision();
      const head = sealHead(keys, { revision: before + 1, records });
      await environment.write({ before, after: before + 1, growthBytes: 0, head, change: () => {} });
      this.#counted = { keys, records };
      return { records: records.count };
    });
  }

  async reseal(key: MacKey): Promise<Result<void>> {
    if (this.#counted === undefined) return refuse('NotReady', 'the store is not sealed');
    if (this.#next !== undefined) return refuse('Conflict', 'the head is being sealed anew already');
    const keys = headKeysOf(key);
    const next: NextCount = { keys, records: new MultisetHash(keys.multiset), cursor: Buffer.alloc(0) };
    this.#next = next;
    const counted = await this.#whileOpen(async () => {
      while (this.#next?.cursor !== undefined && this.#next.keys === keys) {
        await this.#parts.betweenWrites(() => this.#countMore());
        await setImmediate();
      }
      return this.#next?.keys === keys;
    });
    if (!counted.ok) {
      // Otherwise every later call would hear that this one is under way.
      if (this.#next?.keys === keys) this.#next = undefined;
      return counted;
    }
    if (!counted.value) return refuse('Conflict', 'a write failed meanwhile: seal it again');
    const written = await this.#parts.writeHead();
    return written.ok ? ok(undefined) : written;
  }

  /** One step of the second count. Between two writes, as what is read must be what they left. */
  #countMore(): void {
    const next = this.#next;
    if (next?.cursor === undefined) return;
    const { records } = this.#parts.environment;
    let [count, last] = [0, next.cursor];
    for (const { key, value } of records.getRange({ start: next.cursor, limit: recordsPerTurn + 1 })) {
      const storeKey = Buffer.from(key);
      if (storeKey.equals(next.cursor)) continue;
      next.records.add(elementOf(storeKey, value).bytes);
      last = storeKey;
      count++;
    }
    next.cursor = count === 0 ? undefined : last;
  }

  /** The index anew, of the records as they are. */
  async #writeIndex(): Promise<void> {
    const { digests } = this.#parts.environment;
    await digests.clearAsync();
    const entries: { key: Buffer; digest: Buffer }[] = [];
    const write = () =>
      digests.transactionSync(() => {
        for (const { key, digest } of entries.splice(0)) digests.putSync(key, digest);
      });
    await eachRecord(this.#parts.environment, (storeKey, stored) => {
      const key = Buffer.from(storeKey);
      entries.push({ key, digest: indexEntryOf(elementOf(key, stored)) });
      if (entries.length >= entriesPerWrite) write();
    });
    write();
  }

  async #whileOpen<T>(run: () => Promise<T>): Promise<Result<T>> {
    if (this.#parts.isClosed()) return refuse('StoreUnavailable');
    try {
      return ok(await run());
    } catch (error) {
      this.#parts.report(error);
      return refuse('StoreUnavailable');
    }
  }
}

function isCounted({ cursor }: NextCount, key: Buffer): boolean {
  return cursor === undefined || Buffer.compare(key, cursor) <= 0;
}

function reasonAgainst(
  stored: Buffer,
  head: SealedHead | undefined,
  records: MultisetHash,
  revision: number,
): StoreFailure['reason'] | undefined {
  if (stored.length === 0) return 'head_missing';
  if (head === undefined) return 'head_rejected';
  if (!isOfSameRecords(head.records, records)) return 'records_differ';
  return revision < head.revision ? 'revision_back' : undefined;
}

function idOf(head: Buffer, records: MultisetHash): string {
  const looked = Buffer.concat([head, records.hash(Buffer.alloc(32)), Buffer.from(String(records.count))]);
  return hash('sha256', looked, 'hex').slice(0, 16);
}
