import { chmodSync, existsSync, mkdirSync, statfsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Database, open, type RootDatabase, type Transaction } from 'lmdb';
import { syncPath } from '../../core/private-file.ts';
import { checkBeforeOpening } from './data-file.ts';
import { heldBy, lockDirectory } from './directory-lock.ts';

export interface OpenOptions {
  /** Made when it is missing. */
  readonly directory: string;
  /** Writes are refused when the data file has grown to this size. */
  readonly maxBytes: number;
  /** Causes of refusals, for the operator's log. Must not throw. */
  readonly report: (error: unknown) => void;
}

export type Bytes = Database<Buffer, Uint8Array>;

/** The databases in the file, and the one way to write to them. */
export interface Environment {
  readonly records: Bytes;
  /** Under the same keys: the beginning of the digest of each record, once the store has a head. */
  readonly digests: Bytes;
  /** Of the last commit. Reads in the same turn see exactly this state. */
  revision(): number;
  /** The head that the last commit with one has left; empty where there was none. */
  head(): Buffer;
  /** One moment of the file for several reads in several turns; `done` lets its pages go. */
  reading(): Transaction;
  /**
   * All that `change` puts and removes, durably or not at all, and with it the new revision and the head. Rejects when the
   * revision is not `before` any more: then somebody else writes to this file, against the lock; or when the disk has no
   * room for `growthBytes`, the most by which the file may grow.
   */
  write(write: Write): Promise<void>;
  close(): Promise<void>;
}

export interface Write {
  readonly before: number;
  readonly after: number;
  readonly growthBytes: number;
  /** Undefined: the one that is there stays. */
  readonly head: Buffer | undefined;
  change(records: Bytes, digests: Bytes): void;
}

/** Stored under `format`; another number is another layout. */
const format = 1;
const formatKey = Buffer.from('format');
const revisionKey = Buffer.from('revision');
/** One of this process, the rest for tools that look at the file while it serves. */
const maxReaders = 16;
/**
 * Room that stays free on the file system of the store: for others' files that grow between the look and the write.
 * LMDB itself must not meet a full disk: about a failed write, lmdb 3.5.6 prints up to 125 bytes into a buffer of 100
 * (mdb.c, mdb_page_flush), and in 1 of 2 trials the process was aborted for its damaged heap.
 */
const reservedBytes = 8 * 1024 * 1024;
/** Virtual memory to begin with; LMDB remaps as the file grows, and this spares the first remaps. */
const initialMapBytes = 64 * 1024 * 1024;

export async function openEnvironment(options: OpenOptions): Promise<Environment> {
  const { directory } = options;
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  const unlock = await lockDirectory(directory);
  if (unlock === undefined)
    throw new Error(`the data directory is in use: ${await heldBy(directory)}; stop that first`);
  let root: RootDatabase<Buffer, Uint8Array> | undefined;
  try {
    const dataFile = join(directory, 'data.mdb');
    if (existsSync(dataFile)) checkBeforeOpening(dataFile);
    root = openRoot(directory);
    const binary = { encoding: 'binary', keyEncoding: 'binary' } as const;
    const records = root.openDB<Buffer, Uint8Array>({ ...binary, name: 'records' });
    const digests = root.openDB<Buffer, Uint8Array>({ ...binary, name: 'digests' });
    const meta = root.openDB<Buffer, Uint8Array>({ ...binary, name: 'meta', useVersions: true });
    if (meta.getEntry(revisionKey) === undefined) {
      requireRoom(directory, 0);
      meta.putSync(formatKey, Buffer.alloc(0), format);
      meta.putSync(revisionKey, Buffer.alloc(0), 1);
    }
    if (meta.getEntry(formatKey)?.version !== format) throw new Error('the store has an unknown format');
    return environment(root, { records, digests, meta }, options, unlock);
  } catch (error) {
    await root?.close();
    await unlock();
    throw error;
  }
}

function openRoot(directory: string): RootDatabase<Buffer, Uint8Array> {
  const options = {
    path: directory,
    noSubdir: false,
    maxDbs: 4,
    maxReaders,
    mapSize: initialMapBytes,
    // See LmdbStore: a commit is on disk when its promise resolves.
    overlappingSync: false,
    // Every write is one explicit batch, so there is nothing to wait for.
    eventTurnBatching: false,
    // Known to LMDB, missing in its types.
    permissionsMode: 0o600,
  };
  const root = open<Buffer, Uint8Array>(options);
  for (const file of ['data.mdb', 'lock.mdb']) {
    const path = join(directory, file);
    if (existsSync(path)) chmodSync(path, 0o600);
  }
  // A new file is only as durable as the directory that names it.
  for (const path of [directory, dirname(directory)]) syncPath(path);
  return root;
}

function environment(
  root: RootDatabase<Buffer, Uint8Array>,
  { records, digests, meta }: { records: Bytes; digests: Bytes; meta: Bytes },
  { directory, maxBytes, report }: OpenOptions,
  unlock: () => Promise<void>,
): Environment {
  const last = () => {
    const entry = meta.getEntry(revisionKey);
    if (entry?.version === undefined) throw new Error('the store has lost its revision');
    return { revision: entry.version, head: Buffer.from(entry.value) };
  };
  return {
    records,
    digests,
    revision: () => last().revision,
    head: () => last().head,
    reading: () => root.useReadTransaction(),
    async write({ before, after, growthBytes, head, change }) {
      requireRoom(directory, growthBytes);
      if (statSync(join(directory, 'data.mdb')).size >= maxBytes)
        throw new Error('the store has reached its size limit');
      const next = head ?? last().head;
      const written = meta.ifVersion(revisionKey, before, () => {
        change(records, digests);
        meta.put(revisionKey, next, after);
      });
      if (!(await settled(written, report))) throw new Error('another process writes to the data directory');
    },
    async close() {
      await root.close();
      await unlock();
    },
  };
}

function requireRoom(directory: string, growthBytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  if (bavail * bsize < reservedBytes + growthBytes) throw new Error('the disk of the store is full');
}

/** lmdb rejects with an error that carries the cause as a second promise; unhandled, it would end the process. */
async function settled(written: Promise<boolean>, report: (error: unknown) => void): Promise<boolean> {
  try {
    return await written;
  } catch (error) {
    const cause: unknown = (error as { commitError?: unknown }).commitError;
    if (cause instanceof Promise) cause.catch(report);
    throw error;
  }
}
