import { closeSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { type DataFile, damageIn, databaseBytes, headerBytes, type Meta } from './pages.ts';

/**
 * LMDB maps its file without a look: one that is cut short ends the process with SIGBUS, one whose pages are not LMDB's with
 * SIGSEGV. So the two meta pages are read and held against the file before it is opened.
 *
 * Layout of lmdb 3.5.6 (mdb.c, MDB_page_header, MDB_meta, MDB_db), little endian: header of 24 bytes (u64 page number, u64
 * transaction, u16 pad, u16 flags), then u32 magic, u32 version, u64 address, u64 map size, two databases of 48 bytes of which
 * the first begins with the page size (u32), u64 last page, u64 transaction.
 */
const magic = 0xbeefc0de;
const dataVersion = 2;
const metaFlag = 0x08;
const metaBytes = headerBytes + 136;
const databasesAt = headerBytes + 24;
const lastPageAt = databasesAt + 2 * databaseBytes;
/** LMDB takes the system's page size, at most 64 KiB. */
const maxPageBytes = 65_536;

/** Throws an Error that says in one line what is wrong. An empty file is a new one. */
export function checkBeforeOpening(path: string): void {
  withDataFile(path, 'r+', (file) => {
    if (file.bytes === 0) return;
    const meta = readMeta(file);
    const wanted = (meta.lastPage + 1) * meta.pageBytes;
    if (file.bytes >= wanted) return;
    // It may be shorter by pages that are free and were never written. LMDB would still map them.
    const damage = damageIn(file, meta);
    if (damage !== undefined) {
      throw new Error(
        `data.mdb is cut short: ${file.bytes} bytes of ${wanted} are there; restore it from your copy`,
      );
    }
    ftruncateSync(file.descriptor, wanted);
  });
}

/** The damage of the file, or the number of pages in use. Reads every page that is in use; nobody may write meanwhile. */
export function checkEveryPage(path: string): { readonly damage: string } | { readonly pages: number } {
  return withDataFile(path, 'r', (file) => {
    try {
      const meta = readMeta(file);
      const damage = damageIn(file, meta);
      return damage === undefined ? { pages: meta.lastPage + 1 } : { damage };
    } catch (cause) {
      return { damage: (cause as Error).message };
    }
  });
}

function withDataFile<T>(path: string, flags: 'r' | 'r+', use: (file: DataFile) => T): T {
  const descriptor = openSync(path, flags);
  try {
    return use({ descriptor, bytes: fstatSync(descriptor).size });
  } finally {
    closeSync(descriptor);
  }
}

/** The newer of both; each must be whole, as LMDB writes the two of them when it makes the file. */
function readMeta(file: DataFile): Meta {
  const first = metaAt(file, 0, 0);
  const second = metaAt(file, 1, first.pageBytes);
  if (second.pageBytes !== first.pageBytes) throw damaged('the two meta pages contradict each other');
  return second.transaction > first.transaction ? second : first;
}

function metaAt(file: DataFile, number: 0 | 1, at: number): Meta {
  const bytes = Buffer.alloc(metaBytes);
  if (readSync(file.descriptor, bytes, 0, metaBytes, at) !== metaBytes)
    throw damaged('it ends within its meta pages');
  const which = number === 0 ? 'first' : 'second';
  const known =
    Number(bytes.readBigUInt64LE(0)) === number &&
    (bytes.readUInt16LE(18) & metaFlag) !== 0 &&
    bytes.readUInt32LE(headerBytes) === magic;
  if (!known) throw damaged(`its ${which} page is not a meta page`);
  const version = bytes.readUInt32LE(headerBytes + 4);
  if (version !== dataVersion) throw new Error(`data.mdb has the format ${version}, and not ${dataVersion}`);
  const pageBytes = bytes.readUInt32LE(databasesAt);
  const lastPage = Number(bytes.readBigUInt64LE(lastPageAt));
  const plausible = pageBytes >= 512 && pageBytes <= maxPageBytes && (pageBytes & (pageBytes - 1)) === 0;
  if (!plausible || lastPage < 1 || !Number.isSafeInteger((lastPage + 1) * pageBytes)) {
    throw damaged(`its ${which} meta page has sizes that cannot be`);
  }
  return {
    pageBytes,
    lastPage,
    transaction: Number(bytes.readBigUInt64LE(lastPageAt + 8)),
    databases: [
      bytes.subarray(databasesAt, databasesAt + databaseBytes),
      bytes.subarray(databasesAt + databaseBytes, databasesAt + 2 * databaseBytes),
    ],
  };
}

function damaged(what: string): Error {
  return new Error(`data.mdb is damaged: ${what}; restore it from your copy`);
}
