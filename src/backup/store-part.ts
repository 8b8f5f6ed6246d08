import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, open, type RootDatabase, type Transaction } from 'lmdb';
import { syncPath } from '../core/private-file.ts';
import { BackupRefusal } from './refusal.ts';

/**
 * The store as entries of its databases, not as pages of its file: free pages hold what was destroyed, and do not come along. A
 * piece is entries one after the other:
 *
 *   u8 number of the database | u16be length of the key | u32be length of the value | key | value
 */
const entryHeaderBytes = 7;
/** In memory at a time. */
const pieceBytes = 8 * 1024 * 1024;
/** As of the service: a value has 1 MiB, and its revision before it. */
const maxValueBytes = 1024 * 1024 + 8;
const maxKeyBytes = 512;
/** As many as the service's own file may have, and readers beside it. */
const maxDatabases = 8;
const maxReaders = 16;
/** A few MiB of pages that are not yet on the disk. */
const entriesPerWrite = 5_000;
const raw = { encoding: 'binary', keyEncoding: 'binary' } as const;

type Raw = Database<Buffer, Uint8Array>;

/** One moment of a store, which may go on meanwhile. */
export interface StoreSnapshot {
  readonly databases: readonly string[];
  readonly records: number;
  /** A record, without its revision. */
  get(key: string): Buffer | undefined;
  pieces(progress: (entries: number) => void): AsyncGenerator<Buffer>;
  close(): Promise<void>;
}

export async function openStoreSnapshot(dataDir: string): Promise<StoreSnapshot> {
  const directory = join(dataDir, 'store');
  if (!existsSync(join(directory, 'data.mdb')))
    throw new BackupRefusal('source_unusable', `there is no store in ${dataDir}`);
  const root = openRoot(directory, true);
  try {
    // Databases are opened before the moment that is read: opening one ends a reading.
    const names = [...root.getKeys()].map(String);
    const databases = names.map((name) => root.openDB<Buffer, Uint8Array>({ ...raw, name }));
    const transaction = root.useReadTransaction();
    return snapshotOf(root, names, databases, transaction);
  } catch (cause) {
    await root.close();
    throw cause;
  }
}

function snapshotOf(
  root: RootDatabase,
  names: readonly string[],
  databases: readonly Raw[],
  transaction: Transaction,
): StoreSnapshot {
  const named = (name: string) => databases[names.indexOf(name)];
  return {
    databases: names,
    records: named('records')?.getKeysCount({ transaction }) ?? 0,
    get: (key) => {
      const stored = named('records')?.get(Buffer.from(key, 'latin1'), { transaction });
      return stored && Buffer.from(stored.subarray(8));
    },
    async *pieces(progress) {
      let entries = 0;
      let piece: Buffer[] = [];
      let bytes = 0;
      for (const [number, database] of databases.entries()) {
        for (const { key, value } of database.getRange({ transaction })) {
          const entry = encodeEntry(number, key, value);
          piece.push(entry);
          bytes += entry.length;
          entries++;
          if (bytes < pieceBytes) continue;
          yield Buffer.concat(piece);
          [piece, bytes] = [[], 0];
          progress(entries);
        }
      }
      if (bytes > 0) yield Buffer.concat(piece);
      progress(entries);
    },
    async close() {
      transaction.done();
      await root.close();
    },
  };
}

function encodeEntry(database: number, key: Uint8Array, value: Uint8Array): Buffer {
  const entry = Buffer.allocUnsafe(entryHeaderBytes + key.length + value.length);
  entry[0] = database;
  entry.writeUInt16BE(key.length, 1);
  entry.writeUInt32BE(value.length, 3);
  entry.set(key, entryHeaderBytes);
  entry.set(value, entryHeaderBytes + key.length);
  return entry;
}

/** The most that a piece has: one entry may go past its end. */
export const maxPieceBytes = pieceBytes + entryHeaderBytes + maxKeyBytes + maxValueBytes;

interface Entry {
  readonly database: number;
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Throws a BackupRefusal where the piece is not whole. */
export function* pieceEntries(piece: Buffer, databases: number): Generator<Entry> {
  for (let at = 0; at < piece.length; ) {
    const bytes = piece.length - at;
    const keyBytes = bytes < entryHeaderBytes ? 0 : piece.readUInt16BE(at + 1);
    const valueBytes = bytes < entryHeaderBytes ? 0 : piece.readUInt32BE(at + 3);
    const end = at + entryHeaderBytes + keyBytes + valueBytes;
    const plausible = keyBytes >= 1 && keyBytes <= maxKeyBytes && valueBytes <= maxValueBytes;
    if (!plausible || end > piece.length || (piece[at] as number) >= databases)
      throw new BackupRefusal('damaged', 'the backup is damaged: a piece of the store is not whole');
    const keyAt = at + entryHeaderBytes;
    const key = piece.subarray(keyAt, keyAt + keyBytes);
    yield { database: piece[at] as number, key, value: piece.subarray(keyAt + keyBytes, end) };
    at = end;
  }
}

/** A new store file, written from the pieces of a backup. */
export class StoreWriter {
  readonly #directory: string;
  readonly #root: RootDatabase;
  readonly #databases: readonly Raw[];

  constructor(dataDir: string, names: readonly string[]) {
    this.#directory = join(dataDir, 'store');
    mkdirSync(this.#directory, { mode: 0o700 });
    this.#root = openRoot(this.#directory, false);
    this.#databases = names.map((name) => this.#root.openDB<Buffer, Uint8Array>({ ...raw, name }));
  }

  write(piece: Buffer): void {
    const entries = pieceEntries(piece, this.#databases.length);
    for (let ended = false; !ended; ) {
      this.#root.transactionSync(() => {
        for (let n = 0; n < entriesPerWrite; n++) {
          const next = entries.next();
          ended = next.done === true;
          if (next.done === true) return;
          this.#databases[next.value.database]?.putSync(next.value.key, next.value.value);
        }
      });
    }
  }

  /** Everything is on the disk when it resolves. */
  async close(): Promise<void> {
    await this.#root.close();
    for (const path of [join(this.#directory, 'data.mdb'), this.#directory]) syncPath(path);
  }
}

function openRoot(path: string, readOnly: boolean): RootDatabase {
  // Known to LMDB, missing in its types.
  const mode = { permissionsMode: 0o600 };
  return open({
    ...{ path, noSubdir: false, maxDbs: maxDatabases, maxReaders, readOnly, overlappingSync: false },
    ...mode,
  });
}
