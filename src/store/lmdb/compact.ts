import { chmodSync, mkdirSync, renameSync, rmSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Database, open, type RootDatabase } from 'lmdb';
import { syncPath } from '../../core/private-file.ts';
import { checkBeforeOpening, checkEveryPage } from './data-file.ts';

/** What a compaction did. */
export interface Compacted {
  readonly records: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

const dataFile = 'data.mdb';
const maxDatabases = 4;
/** As of the service, which may have the file open beside this. */
const maxReaders = 16;
/** Stays free on the file system: see environment.ts. */
const reservedBytes = 8 * 1024 * 1024;
/** Records of one write transaction: a few MiB of pages that are not yet on the disk. */
const recordsPerWrite = 5_000;

/**
 * Puts a new data file in the place of the one in `directory`, which the caller holds and nobody else has open. A crash leaves the
 * old file or the new one. Throws an Error that says in one line what is wrong; then the old one is there.
 *
 * The records are read and written again one by one. LMDB's own compacting copy takes pages as they are, and within a page
 * that is in use lie bytes of records that were removed from it.
 */
export async function compact(directory: string): Promise<Compacted> {
  const path = join(directory, dataFile);
  checkBeforeOpening(path);
  const bytesBefore = statSync(path).size;
  const work = join(directory, 'compacting');
  // Left over from one that was killed.
  rmSync(work, { recursive: true, force: true });
  requireRoom(directory, bytesBefore);
  mkdirSync(work, { mode: 0o700 });
  try {
    const records = await writeAgain(directory, work);
    const made = join(work, dataFile);
    chmodSync(made, 0o600);
    const checked = checkEveryPage(made);
    if ('damage' in checked) throw new Error(`the new file is damaged: ${checked.damage}`);
    syncPath(made);
    renameSync(made, path);
    syncPath(directory);
    return { records, bytesBefore, bytesAfter: statSync(path).size };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function requireRoom(directory: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  if (bavail * bsize < reservedBytes + bytes)
    throw new Error(`the new file may need ${bytes} bytes, which ${directory} has no room for`);
}

type Raw = Database<Buffer, Uint8Array>;
/** Whatever a database of the service has beside its bytes, such as a version, lies in the bytes. */
const raw = { encoding: 'binary', keyEncoding: 'binary' } as const;

async function writeAgain(from: string, to: string): Promise<number> {
  const source = openRoot(from, true);
  try {
    const target = openRoot(to, false);
    try {
      // Databases are opened before the moment that is read: opening one ends a reading.
      const pairs = [...source.getKeys()].map((name) => {
        const named = { ...raw, name: String(name) };
        return {
          from: source.openDB<Buffer, Uint8Array>(named),
          to: target.openDB<Buffer, Uint8Array>(named),
        };
      });
      const transaction = source.useReadTransaction();
      let records = 0;
      try {
        for (const pair of pairs) records += copyDatabase(pair.from, pair.to, target, transaction);
      } finally {
        transaction.done();
      }
      return records;
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

function copyDatabase(
  source: Raw,
  target: Raw,
  root: RootDatabase,
  transaction: ReturnType<RootDatabase['useReadTransaction']>,
): number {
  const entries = source.getRange({ transaction })[Symbol.iterator]();
  let records = 0;
  for (let ended = false; !ended; ) {
    root.transactionSync(() => {
      for (let n = 0; n < recordsPerWrite; n++) {
        const next = entries.next();
        ended = next.done === true;
        if (next.done === true) return;
        target.putSync(next.value.key, next.value.value);
        records++;
      }
    });
  }
  return records;
}

function openRoot(path: string, readOnly: boolean): RootDatabase {
  return open({ path, noSubdir: false, maxDbs: maxDatabases, maxReaders, readOnly, overlappingSync: false });
}
