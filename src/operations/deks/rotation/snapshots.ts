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
 * The records of DEKs as they were before a rotation of the KEK: a way back while the KEK's old versions exist. Each rotation has
 * a directory, `kek-v<target>/<key id>.json`, so that a resumed one writes each file once, and questions to all go to a few
 * directories. 10,000 DEKs and a rotation a day make 300,000 files a month.
 */
export interface DekSnapshots {
  /** Written before the change. A kill loses none; a power loss may, and the new record is durable by itself. */
  write(deks: readonly Dek[], target: number): Promise<void>;
  /** The snapshot of a DEK, which only its wrappings vouch for. Undefined: there is none that can be read. */
  read(dekId: string, target: number): Promise<Dek | undefined>;
  /** The oldest first. */
  list(): Promise<readonly RotationSnapshots[]>;
  /** Removes all snapshots of one DEK; durable when it resolves. */
  removeOf(dekId: string): Promise<void>;
}

/** The snapshots of one rotation. */
export interface RotationSnapshots {
  /** The version of the KEK that it went to. */
  readonly target: number;
  /** Time of the last write, UTC milliseconds. */
  readonly writtenAtMs: number;
  /** True: one of them opens by this version of the KEK alone. */
  needs(kek: number): boolean;
  has(dekId: string): Promise<boolean>;
  /** Removes those of these DEKs. */
  removeOf(dekIds: ReadonlySet<string>): Promise<void>;
  /** Removes all of them. */
  remove(): Promise<void>;
  /** Sets the time of the last write, UTC milliseconds. */
  stamp(atMs: number): Promise<void>;
}

/** Node has four threads for files. More writes at once would queue before those of encryptions. */
const filesAtOnce = 8;
const rotationName = /^kek-v([0-9]{1,10})$/;
const snapshotName = /^([A-Za-z0-9._:-]{1,128})\.json$/;
/** The file beside the snapshots that lists the versions of the KEK that wrap them. No snapshot has this name. */
const keksName = 'keks';
/** A file that a kill has cut off. */
const partName = /^(keks|[A-Za-z0-9._:-]{1,128}\.json)\.new$/;

export async function openSnapshots(directory: string): Promise<DekSnapshots> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const { path } of await rotationsIn(directory))
    for (const name of await readdir(path)) if (partName.test(name)) await removeFile(join(path, name));
  return {
    async write(deks, target) {
      const path = join(directory, `kek-v${target}`);
      await mkdir(path, { recursive: true, mode: 0o700 });
      // The list comes before the snapshots, so that a kill leaves none whose KEK is not on it.
      const keks = new Set(await keksOf(path));
      for (const { versions } of deks) for (const { kek } of versions) keks.add(kek);
      await writeWhole(join(path, keksName), JSON.stringify([...keks]));
      for (let at = 0; at < deks.length; at += filesAtOnce) {
        const some = deks.slice(at, at + filesAtOnce);
        const written = some.map((dek) => writeWhole(join(path, `${dek.id}.json`), `${textOf(dek)}\n`));
        // All writes have ended before a failure is told: another try meets none under way.
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

/** A link or a file of such a name is somebody else's, and is left alone. */
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
  // Without a readable list every KEK before the target may be needed.
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
      // The directory stays while it has files of others.
      await rmdir(path).catch(unless('ENOENT', 'ENOTEMPTY', 'EEXIST'));
    },
    async stamp(atMs) {
      const seconds = atMs / 1_000;
      // The directory's time counts where there is no list. lutimes follows no link.
      for (const each of [path, join(path, keksName)])
        await lutimes(each, seconds, seconds).catch(unless('ENOENT'));
    },
  };
}

/** Writes a file whole or not at all. A file of this name has the same content, or was cut off by a kill. */
async function writeWhole(file: string, text: string): Promise<void> {
  await removeFile(`${file}.new`);
  await writeFile(`${file}.new`, text, { mode: 0o600, flag: 'wx' });
  await rename(`${file}.new`, file);
}

/** Leaves a directory alone, which nobody here has made. */
async function removeFile(file: string): Promise<void> {
  await unlink(file).catch(unless('ENOENT', 'EISDIR', 'EPERM'));
}

function unless(...codes: readonly string[]) {
  return (cause: NodeJS.ErrnoException): undefined => {
    if (!codes.includes(cause.code ?? '')) throw cause;
  };
}

/** Room for some thousand versions; a rotation has a handful. */
const maxKeksBytes = 16_384;
/** A snapshot of 16 versions has some 3 KiB. */
const maxSnapshotBytes = 65_536;

/** Undefined: there is no list. Nothing vouches for it; a wrong one only keeps KEKs too long, or a snapshot from opening. */
async function keksOf(path: string): Promise<readonly number[] | undefined> {
  try {
    const keks: unknown = JSON.parse((await textIn(join(path, keksName), maxKeksBytes)) ?? '');
    return Array.isArray(keks) && keks.every(Number.isInteger) ? keks : undefined;
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined;
    throw cause;
  }
}

/** Undefined: there is no such file, or it is a link, a pipe or a device. */
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

/** Turns failures of the file system into a refusal: a full disk is no bug. */
export async function onSnapshotDisk(work: () => Promise<void>): Promise<Refused | undefined> {
  try {
    await work();
    return undefined;
  } catch (cause) {
    return refuse('StoreUnavailable', `kms-deks-backup: ${errorCode(cause)}`, 1_000);
  }
}

/** A service in memory keeps no snapshots. */
export const noSnapshots: DekSnapshots = {
  write: async () => {},
  read: async () => undefined,
  list: async () => [],
  removeOf: async () => {},
};
