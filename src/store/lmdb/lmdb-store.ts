import { ok, type Result, refuse } from '../../core/result.ts';
import { checkChanges, checkKey, checkRange } from '../bounds.ts';
import type { Change, CommitOutcome, ListRange, Store, StoreEntry } from '../store.ts';
import { Watchers, type WatchListener } from '../watchers.ts';
import { type Environment, type OpenOptions, openEnvironment } from './environment.ts';
import { HeadKeeper, type Replaced } from './head-keeper.ts';

/** Revision before each value: big endian, 8 bytes. */
const headerBytes = 8;
/** Commits that wait for the disk. At 0.3 ms each, and many in one write, a queue this long means that the disk stands still. */
const maxWaitingCommits = 4_096;
/** One write takes up to this many changes of several commits, and always at least one commit: about 50 ms. */
const maxChangesPerWrite = 10_000;
const busyRetryMs = 1_000;

interface Waiting {
  readonly changes: readonly Change[];
  readonly resolve: (outcome: Result<CommitOutcome>) => void;
}

/** A commit of a write, with the revision that it gets. */
interface Accepted {
  readonly waiting: Waiting;
  readonly revision: number;
}

/**
 * The embedded store: LMDB in a directory that this process holds alone. Files are 0600 in a directory of 0700.
 *
 * Durability: LMDB without `overlappingSync` writes the pages, fdatasyncs them, then writes the meta page through an
 * O_DSYNC descriptor, and only then is the write's promise resolved. A crash at any point leaves the older meta page in
 * force, hence all of a commit or none.
 *
 * One write is under way at a time; commits that arrive meanwhile go together into the next one, in their order. So the
 * revisions that a commit is compared with are those on disk and those of its own write, and never of one that may fail.
 */
export class LmdbStore implements Store {
  readonly durable = true;
  readonly #environment: Environment;
  readonly #report: (error: unknown) => void;
  readonly #watchers = new Watchers();
  readonly integrity: HeadKeeper;
  #waiting: Waiting[] = [];
  /** Run while no write is under way. */
  #betweenWrites: (() => void)[] = [];
  #writable = true;
  #writing: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /** Throws when the directory is held by another process, cannot be used, or has an unknown format. */
  static async open(options: OpenOptions): Promise<LmdbStore> {
    return new LmdbStore(await openEnvironment(options), options.report);
  }

  private constructor(environment: Environment, report: (error: unknown) => void) {
    this.#environment = environment;
    this.#report = report;
    this.integrity = new HeadKeeper({
      environment,
      isClosed: () => this.#closing !== undefined,
      report,
      betweenWrites: (run) => this.#runBetweenWrites(run),
      writeHead: () => this.#commit([]),
    });
  }

  /** True if the last write succeeded: false from the first one that fails, on a full disk for example. */
  get writable(): boolean {
    return this.#writable;
  }

  async get(key: string): Promise<Result<StoreEntry | undefined>> {
    checkKey(key);
    return this.#read(() => {
      const stored = this.#environment.records.getBinary(toBytes(key));
      return stored === undefined ? undefined : entry(key, stored);
    });
  }

  async list(range: ListRange): Promise<Result<readonly StoreEntry[]>> {
    checkRange(range);
    const { prefix, after, limit, reverse = false } = range;
    // 0x7f follows every character that a key may have, and a zero byte is the smallest way to go on after a key.
    const bottom = after !== undefined && after >= prefix && !reverse ? `${after}\0` : prefix;
    const top = after !== undefined && after < `${prefix}\x7f` && reverse ? after : `${prefix}\x7f`;
    if (bottom >= top) return this.#read(() => []);
    const bounds = reverse
      ? { start: toBytes(top), end: toBytes(bottom), exclusiveStart: true, inclusiveEnd: true }
      : { start: toBytes(bottom), end: toBytes(top) };
    return this.#read(() => {
      const entries: StoreEntry[] = [];
      for (const { key, value } of this.#environment.records.getRange({ ...bounds, reverse, limit })) {
        entries.push(entry(Buffer.from(key).toString('latin1'), value));
      }
      return entries;
    });
  }

  commit(changes: readonly Change[]): Promise<Result<CommitOutcome>> {
    checkChanges(changes);
    return this.#commit(changes);
  }

  #commit(changes: readonly Change[]): Promise<Result<CommitOutcome>> {
    if (this.#closing !== undefined) return Promise.resolve(refuse('StoreUnavailable'));
    if (this.#waiting.length >= maxWaitingCommits) {
      return Promise.resolve(refuse('StoreUnavailable', undefined, busyRetryMs));
    }
    // The caller may use its buffers again as soon as this returns.
    const copied = changes.map((change) => ({
      ...change,
      value: change.value && Uint8Array.from(change.value),
    }));
    return new Promise((resolve) => {
      this.#waiting.push({ changes: copied, resolve });
      this.#writing ??= this.#write();
    });
  }

  watch(prefix: string, listener: WatchListener): () => void {
    return this.#watchers.add(prefix, listener);
  }

  close(): Promise<void> {
    this.#closing ??= (async () => {
      await this.#writing;
      this.#watchers.clear();
      await this.#environment.close();
    })();
    return this.#closing;
  }

  #read<T>(reading: () => T): Result<T> {
    if (this.#closing !== undefined) return refuse('StoreUnavailable');
    try {
      return ok(reading());
    } catch (error) {
      this.#report(error);
      return refuse('StoreUnavailable');
    }
  }

  async #write(): Promise<void> {
    // Commits of the same turn go together.
    await undefined;
    while (this.#waiting.length > 0 || this.#betweenWrites.length > 0) {
      for (const run of this.#betweenWrites.splice(0)) run();
      const group = this.#takeGroup();
      if (group.length === 0) continue;
      try {
        await this.#writeGroup(group);
        this.#writable = true;
      } catch (error) {
        this.#writable = false;
        this.#report(error);
        this.integrity.readAgain();
        // Callers that were answered already are not affected.
        for (const { resolve } of group) resolve(refuse('StoreUnavailable'));
      }
    }
    this.#writing = undefined;
  }

  #takeGroup(): Waiting[] {
    let changes = 0;
    let commits = 0;
    for (const waiting of this.#waiting) {
      changes += waiting.changes.length;
      if (commits > 0 && changes > maxChangesPerWrite) break;
      commits += 1;
    }
    return this.#waiting.splice(0, commits);
  }

  #runBetweenWrites<T>(run: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#betweenWrites.push(() => {
        try {
          resolve(run());
        } catch (error) {
          reject(error);
        }
      });
      this.#writing ??= this.#write();
    });
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    const before = this.#environment.revision();
    const accepted = this.#acceptedOf(group, before);
    const last = accepted.at(-1);
    if (last === undefined) return;
    const after = last.revision;
    const replaced = this.#replacedBy(accepted);
    const headChange = this.integrity.change(replaced, after);
    await this.#environment.write({
      ...{ before, after, head: headChange?.head },
      growthBytes: accepted.reduce((sum, { waiting }) => sum + growthOf(waiting.changes), 0),
      change(records, digests) {
        for (const { key, after } of replaced) {
          if (after === undefined) records.remove(key);
          else records.put(key, after);
        }
        for (const { key, digest } of headChange?.digests ?? []) {
          if (digest === undefined) digests.remove(key);
          else digests.put(key, digest);
        }
      },
    });
    headChange?.done();
    for (const { waiting, revision } of accepted) {
      this.#watchers.tell(waiting.changes, revision);
      waiting.resolve(ok({ committed: true, revision }));
    }
  }

  /** The others hear at once that they are not. */
  #acceptedOf(group: readonly Waiting[], before: number): Accepted[] {
    const revisions = new Map<string, number>();
    const accepted: Accepted[] = [];
    let revision = before;
    for (const waiting of group) {
      if (!this.#isAsExpected(waiting.changes, revisions)) {
        waiting.resolve(ok({ committed: false }));
        continue;
      }
      revision += 1;
      accepted.push({ waiting, revision });
      for (const { key, value } of waiting.changes) revisions.set(key, value === undefined ? 0 : revision);
    }
    return accepted;
  }

  /** Each record once, however many of the commits change it. */
  #replacedBy(accepted: readonly Accepted[]): Replaced[] {
    const last = new Map<string, Buffer | undefined>();
    for (const { waiting, revision } of accepted) {
      for (const { key, value } of waiting.changes)
        last.set(key, value === undefined ? undefined : withRevision(value, revision));
    }
    const { records } = this.#environment;
    return [...last].map(([text, after]) => {
      const key = toBytes(text);
      const before = this.integrity.keeps ? records.getBinary(key) : undefined;
      return { key, before, after };
    });
  }

  #isAsExpected(changes: readonly Change[], underWay: ReadonlyMap<string, number>): boolean {
    return changes.every(({ key, expectedRevision }) => {
      if (expectedRevision === undefined) return true;
      return (underWay.get(key) ?? this.#revisionOf(key)) === expectedRevision;
    });
  }

  #revisionOf(key: string): number {
    const stored = this.#environment.records.getBinary(toBytes(key));
    return stored === undefined ? 0 : revisionIn(stored);
  }
}

/**
 * A change writes its value, and copies the pages on the way to it and to its digest, of 4 KiB; four levels hold billions of
 * records.
 */
function growthOf(changes: readonly Change[]): number {
  return changes.reduce((sum, { value }) => sum + (value?.byteLength ?? 0) + 10 * 4096, 0);
}

function toBytes(key: string): Buffer {
  return Buffer.from(key, 'latin1');
}

function withRevision(value: Uint8Array, revision: number): Buffer {
  const stored = Buffer.allocUnsafe(headerBytes + value.byteLength);
  stored.writeBigUInt64BE(BigInt(revision));
  stored.set(value, headerBytes);
  return stored;
}

function revisionIn(stored: Buffer): number {
  return Number(stored.readBigUInt64BE());
}

/** LMDB's pages may change after the next write, so the value is copied out. */
function entry(key: string, stored: Buffer): StoreEntry {
  return { key, value: Uint8Array.from(stored.subarray(headerBytes)), revision: revisionIn(stored) };
}
