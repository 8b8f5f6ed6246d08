import { constants } from 'node:fs';
import {
  lstat,
  lutimes,
  mkdir,
  open,
  opendir,
  readdir,
  rename,
  rmdir,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, syncPath } from '../../../core/private-file.ts';
import { type Refused, refuse } from '../../../core/result.ts';
import { type Dek, dekIn, textOf } from '../dek.ts';

/**
 * The records of DEKs as they were before a rotation of the KEK: a way back as long as the KEK's old versions are there. One
 * directory for each rotation, `kek-v<target>/<key id>.json`, so that a rotation that is resumed writes each once, and what is
 * asked of all of them is asked of a few directories: 10,000 DEKs and a rotation a day are 300,000 files.
 */
export interface DekSnapshots {
  /** Before the change. On the disk when it resolves, but for a power loss: the new record is durable by itself. */
  write(deks: readonly Dek[], target: number): Promise<void>;
  /** As a file says it, which nothing vouches for but its wrappings. Undefined where there is none that can be read. */
  read(dekId: string, target: number): Promise<Dek | undefined>;
  /** The oldest first. */
  list(): Promise<readonly RotationSnapshots[]>;
  /** All of one DEK; durable when it resolves. */
  removeOf(dekId: string): Promise<void>;
}

/** What one rotation has written. */
export interface RotationSnapshots {
  /** The version of the KEK that it went to. */
  readonly target: number;
  /** Of the last ones. UTC milliseconds. */
  readonly writtenAtMs: number;
  /** One of them is of no use without this version of the KEK. */
  needs(kek: number): boolean;
  has(dekId: string): Promise<boolean>;
  /** Those of these DEKs go. */
  removeOf(dekIds: ReadonlySet<string>): Promise<void>;
  /** All of them. */
  remove(): Promise<void>;
  /** They count as written at this time. UTC milliseconds. */
  stamp(atMs: number): Promise<void>;
}

/** Node has four threads for files, and a rotation waits for these. More would queue before what encryptions have to write. */
const filesAtOnce = 8;
const rotationName = /^kek-v([0-9]{1,10})$/;
const snapshotName = /^([A-Za-z0-9._:-]{1,128})\.json$/;
/** Beside the snapshots of a rotation: the versions of the KEK that wrap them. No snapshot has this name. */
const keksName = 'keks';
/** What a kill has left of a file. */
const partName = /^(keks|[A-Za-z0-9._:-]{1,128}\.json)\.new$/;

export async function openSnapshots(directory: string): Promise<DekSnapshots> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const { path } of await rotationsIn(directory))
    for (const name of await readdir(path)) if (partName.test(name)) await removeFile(join(path, name));
  return {
    async write(deks, target) {
      const path = join(directory, `kek-v${target}`);
      await mkdir(path, { recursive: true, mode: 0o700 });
      // Before those that need them, so that a kill leaves none that nobody counts.
      const keks = new Set(await keksOf(path));
      for (const { versions } of deks) for (const { kek } of versions) keks.add(kek);
      await writeWhole(join(path, keksName), JSON.stringify([...keks]));
      for (let at = 0; at < deks.length; at += filesAtOnce) {
        const some = deks.slice(at, at + filesAtOnce);
        const written = some.map((dek) => writeWhole(join(path, `${dek.id}.json`), `${textOf(dek)}\n`));
        // All of them have ended before one is told of: who tries again meets none that is still being written.
        for (const each of await Promise.allSettled(written))
          if (each.status === 'rejected') throw each.reason;
      }
      syncPath(path);
      syncPath(directory);
    },
    async read(dekId, target) {
      const text = await textIn(join(directory, `kek-v${target}`, `${dekId}.json`), maxSnapshotBytes);
      const dek = text === undefined ? undefined : dekIn(text);
      return dek?.id === dekId ? dek : undefined;
    },
    async list() {
      const found: RotationSnapshots[] = [];
      for (const { path, target } of await rotationsIn(directory)) found.push(await rotationAt(path, target));
      return found.sort((a, b) => a.target - b.target);
    },
    async removeOf(dekId) {
      for (const { path } of await rotationsIn(directory)) {
        await removeFile(join(path, `${dekId}.json`));
        syncPath(path);
      }
    },
  };
}

/** A link or a file of this name is somebody else's, and none of ours. */
async function rotationsIn(directory: string) {
  const found: { readonly path: string; readonly target: number }[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const target = rotationName.exec(entry.name)?.[1];
    if (target !== undefined && entry.isDirectory())
      found.push({ path: join(directory, entry.name), target: Number(target) });
  }
  return found;
}

async function holdsSome(path: string): Promise<boolean> {
  for await (const entry of await opendir(path))
    if (entry.isFile() && snapshotName.test(entry.name)) return true;
  return false;
}

async function rotationAt(path: string, target: number): Promise<RotationSnapshots> {
  const keks = (await holdsSome(path)) ? await keksOf(path) : [];
  // Where the list is missing or damaged, whatever was there before may be needed.
  const { mtimeMs: writtenAtMs } = await lstat(join(path, keksName)).catch(() => lstat(path));
  return {
    ...{ target, writtenAtMs },
    needs: (kek) => (keks === undefined ? kek < target : keks.includes(kek)),
    has: async (dekId) =>
      (await lstat(join(path, `${dekId}.json`)).catch(unless('ENOENT')))?.isFile() === true,
    async removeOf(dekIds) {
      for (const name of await readdir(path))
        if (dekIds.has(snapshotName.exec(name)?.[1] ?? '')) await removeFile(join(path, name));
    },
    async remove() {
      for (const name of await readdir(path)) if (snapshotName.test(name)) await removeFile(join(path, name));
      await removeFile(join(path, keksName));
      // What others have put there stays, and so does the directory then.
      await rmdir(path).catch(unless('ENOENT', 'ENOTEMPTY', 'EEXIST'));
    },
    async stamp(atMs) {
      const seconds = atMs / 1_000;
      // The directory's where there is no list. Never what a link leads to.
      for (const each of [path, join(path, keksName)])
        await lutimes(each, seconds, seconds).catch(unless('ENOENT'));
    },
  };
}

/** The same name again: the same content, or what a kill has left of it. */
async function writeWhole(file: string, text: string): Promise<void> {
  await removeFile(`${file}.new`);
  await writeFile(`${file}.new`, text, { mode: 0o600, flag: 'wx' });
  await rename(`${file}.new`, file);
}

/** Not a directory, which nobody here has made. */
async function removeFile(file: string): Promise<void> {
  await unlink(file).catch(unless('ENOENT', 'EISDIR', 'EPERM'));
}

function unless(...codes: readonly string[]) {
  return (cause: NodeJS.ErrnoException): undefined => {
    if (!codes.includes(cause.code ?? '')) throw cause;
  };
}

/** Some thousand versions, and a rotation has a handful. */
const maxKeksBytes = 16_384;
/** 16 versions have some 3 KiB. */
const maxSnapshotBytes = 65_536;

/** Undefined where there is no list. Nothing vouches for it, and it only keeps what could be destroyed. */
async function keksOf(path: string): Promise<readonly number[] | undefined> {
  try {
    const keks: unknown = JSON.parse((await textIn(join(path, keksName), maxKeksBytes)) ?? '');
    return Array.isArray(keks) && keks.every(Number.isInteger) ? keks : undefined;
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined;
    throw cause;
  }
}

/** Undefined where there is no such file, and for links, pipes and devices. */
async function textIn(file: string, maxBytes: number): Promise<string | undefined> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const opened = await open(file, flags).catch(unless('ENOENT', 'ELOOP', 'ENOTDIR', 'ENXIO'));
  if (opened === undefined) return undefined;
  try {
    if (!(await opened.stat()).isFile()) return undefined;
    const { buffer, bytesRead } = await opened.read(Buffer.alloc(maxBytes), 0, maxBytes, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await opened.close();
  }
}

/** A disk that is full, or a directory that is somebody else's, is no bug. */
export async function onSnapshotDisk(work: () => Promise<void>): Promise<Refused | undefined> {
  try {
    await work();
    return undefined;
  } catch (cause) {
    return refuse('StoreUnavailable', `kms-deks-backup: ${errorCode(cause)}`, 1_000);
  }
}

/** None, where there is no file: a service in memory. */
export const noSnapshots: DekSnapshots = {
  write: async () => {},
  read: async () => undefined,
  list: async () => [],
  removeOf: async () => {},
};
