import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  statfsSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** The file operations that the log needs. Failures are thrown as Node's system errors: `code` says ENOSPC, EIO, … */
export interface LogFile {
  size(): number;
  /** Fills `into` from `position` as far as the file goes; gives the number of bytes. */
  read(into: Uint8Array, position: number): number;
  /** One pwrite(2) of bytes [from, from + length): may write fewer, as the system may. */
  write(bytes: Uint8Array, from: number, length: number, position: number): number;
  /** fdatasync(2), off this thread. After it failed, nothing may be believed of what was written before. */
  sync(): Promise<void>;
  truncate(size: number): void;
  close(): void;
}

/** The file system as the log sees it, so that tests can make it fail. */
export interface Files {
  /** `write` opens for both and makes the file, 0600, where it is missing. Symbolic links are not followed. */
  open(path: string, how: 'read' | 'write'): LogFile;
  /** The whole file, or undefined where there is none. */
  read(path: string): Buffer | undefined;
  /** Names in a directory, sorted; none where there is no directory. */
  list(directory: string): string[];
  /** With the directories above it, 0700. */
  makeDirectory(path: string): void;
  rename(from: string, to: string): void;
  /** Removing what is not there is fine. */
  remove(path: string): void;
  /** Makes creations, renames and removals in the directory durable. */
  syncDirectory(path: string): Promise<void>;
  space(directory: string): { freeBytes: number; totalBytes: number };
}

/** The part of it that reading needs. */
export type ReadableFiles = Pick<Files, 'open' | 'read' | 'list'>;

export const systemFiles: Files = {
  open(path, how) {
    const { O_RDONLY, O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
    const fd = openSync(path, O_NOFOLLOW | (how === 'read' ? O_RDONLY : O_RDWR | O_CREAT), 0o600);
    return {
      size: () => fstatSync(fd).size,
      read: (into, position) => readAll(fd, into, position),
      write: (bytes, from, length, position) => writeSync(fd, bytes, from, length, position),
      sync: () => whenDone((done) => fdatasync(fd, done)),
      truncate: (size) => ftruncateSync(fd, size),
      close: () => closeSync(fd),
    };
  },
  read(path) {
    return unlessMissing(() => readWhole(this, path));
  },
  list: (directory) => unlessMissing(() => readdirSync(directory).sort()) ?? [],
  makeDirectory: (path) => {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  },
  rename: renameSync,
  remove: (path) => unlessMissing(() => unlinkSync(path)),
  async syncDirectory(path) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await whenDone((done) => fsync(fd, done));
    } finally {
      closeSync(fd);
    }
  },
  space(directory) {
    const { bavail, blocks, bsize } = statfsSync(directory);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
};

/** True if this system error says that there is no room: it may go by itself. Others do not. */
export function isDiskFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
}

export function writeAll(file: LogFile, bytes: Uint8Array, length: number, position: number): void {
  let written = 0;
  while (written < length) {
    written += file.write(bytes, written, length - written, position + written);
  }
}

/** The file has these bytes, or after a crash the ones before: written beside it, synced, renamed, directory synced. */
export async function replaceFile(files: Files, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.tmp`;
  const file = files.open(temporary, 'write');
  try {
    file.truncate(0);
    writeAll(file, bytes, bytes.length, 0);
    await file.sync();
  } finally {
    file.close();
  }
  files.rename(temporary, path);
  await files.syncDirectory(dirname(path));
}

function readAll(fd: number, into: Uint8Array, position: number): number {
  let total = 0;
  while (total < into.length) {
    const read = readSync(fd, into, total, into.length - total, position + total);
    if (read === 0) break;
    total += read;
  }
  return total;
}

function readWhole(files: Files, path: string): Buffer {
  const file = files.open(path, 'read');
  try {
    const bytes = Buffer.allocUnsafe(file.size());
    return bytes.subarray(0, file.read(bytes, 0));
  } finally {
    file.close();
  }
}

function unlessMissing<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function whenDone(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error === null ? resolve() : reject(error)));
  });
}
