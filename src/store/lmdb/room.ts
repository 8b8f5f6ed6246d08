import { existsSync, statfsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Room that stays free on the file system of the store: for others' files that grow between the look and the write.
 * LMDB itself must not meet a full disk: about a failed write, lmdb 3.5.6 prints up to 125 bytes into a buffer of 100
 * (mdb.c, mdb_page_flush), and in 1 of 2 trials the process was aborted for its damaged heap.
 */
const reservedBytes = 8 * 1024 * 1024;

/** Throws an Error where the disk has no room for the most by which the file may grow. */
export function requireRoom(directory: string, growthBytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  if (bavail * bsize < reservedBytes + growthBytes) throw new Error('the disk of the store is full');
}

/**
 * Before LMDB maps lock.mdb, of which it uses one page: where the disk has no room for that, the first write to it ends the process
 * with SIGBUS. One that is there needs none. Throws an Error; the directory may be missing.
 */
export function requireRoomForLock(directory: string): void {
  const lock = statSync(join(directory, 'lock.mdb'), { throwIfNoEntry: false });
  if (lock !== undefined && lock.blocks > 0) return;
  let nearest = directory;
  while (!existsSync(nearest)) nearest = dirname(nearest);
  requireRoom(nearest, 0);
}
