import { constants } from 'node:fs';
import { lstat, lutimes, mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { syncPath } from '../../core/private-file.ts';
import { type Dek, textOf } from './dek.ts';

/**
 * The record of a DEK as it was before a rotation of the KEK, one file for each: a way back as long as the KEK's old versions are
 * there. `<key id>.kek-v<target>.json`, so that a rotation that is resumed writes each once.
 */
export interface DekSnapshots {
  /** Before the change. On the disk when the page's last one is, but for a power loss: the new record is durable by itself. */
  write(dek: Dek, target: number): Promise<void>;
  /** The directory's entries are on the disk. */
  sync(): void;
  list(): Promise<readonly DekSnapshot[]>;
  /** All of one DEK; durable when it resolves. */
  removeOf(dekId: string): Promise<void>;
  remove(snapshot: DekSnapshot): Promise<void>;
  /** It counts as written at this time. */
  stamp(snapshot: DekSnapshot, atMs: number): Promise<void>;
}

export interface DekSnapshot {
  readonly dekId: string;
  /** The version of the KEK that the rotation went to. */
  readonly target: number;
  readonly file: string;
  readonly writtenAtMs: number;
  /** Versions of the KEK that it needs to be of use. */
  keks(): Promise<readonly number[]>;
}

const nameOf = /^([A-Za-z0-9._:-]{1,128})\.kek-v([0-9]{1,10})\.json$/;

export async function openSnapshots(directory: string): Promise<DekSnapshots> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const ofOne = (name: string, dekId: string) => nameOf.exec(name)?.[1] === dekId;
  for (const name of await readdir(directory))
    if (nameOf.test(name.replace(/\.new$/, '')) && name.endsWith('.new'))
      await removeFile(join(directory, name));
  return {
    async write(dek, target) {
      const file = join(directory, `${dek.id}.kek-v${target}.json`);
      // The same name again: the same content, or what a kill has left of it.
      await removeFile(`${file}.new`);
      await writeFile(`${file}.new`, `${textOf(dek)}\n`, { mode: 0o600, flag: 'wx' });
      await rename(`${file}.new`, file);
    },
    sync: () => syncPath(directory),
    async list() {
      const found: DekSnapshot[] = [];
      for (const name of await readdir(directory)) {
        const [, dekId, target] = nameOf.exec(name) ?? [];
        if (dekId === undefined) continue;
        const file = join(directory, name);
        const stat = await lstat(file).catch(goneOrThrow);
        // Somebody else's link or pipe is none of ours, and another call may have removed it meanwhile.
        if (stat?.isFile() !== true) continue;
        const keks = () => keksOf(file);
        found.push({ dekId, target: Number(target), file, writtenAtMs: stat.mtimeMs, keks });
      }
      return found;
    },
    async removeOf(dekId) {
      for (const name of await readdir(directory))
        if (ofOne(name, dekId)) await removeFile(join(directory, name));
      syncPath(directory);
    },
    remove: ({ file }) => removeFile(file),
    stamp: async ({ file }, atMs) => {
      // Never what a link leads to.
      await lutimes(file, atMs / 1_000, atMs / 1_000).catch(goneOrThrow);
    },
  };
}

/** Not a directory, which nobody here has made. */
async function removeFile(file: string): Promise<void> {
  if ((await lstat(file).catch(goneOrThrow))?.isDirectory() === false) await rm(file, { force: true });
}

function goneOrThrow(cause: NodeJS.ErrnoException): undefined {
  if (cause.code !== 'ENOENT') throw cause;
}

/** 16 versions have some 3 KiB. */
const maxSnapshotBytes = 65_536;

async function keksOf(file: string): Promise<readonly number[]> {
  const opened = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    goneOrThrow,
  );
  if (opened === undefined) return [];
  try {
    const { buffer, bytesRead } = await opened.read(Buffer.alloc(maxSnapshotBytes), 0, maxSnapshotBytes, 0);
    return keksIn(buffer.toString('utf8', 0, bytesRead));
  } finally {
    await opened.close();
  }
}

/** None, where there is no file: a service in memory. */
export const noSnapshots: DekSnapshots = {
  write: async () => {},
  sync: () => {},
  list: async () => [],
  removeOf: async () => {},
  remove: async () => {},
  stamp: async () => {},
};

/** Nothing vouches for the file; one that cannot be read needs nothing. */
function keksIn(text: string): readonly number[] {
  try {
    const { versions } = JSON.parse(text) as { versions: readonly { kek: number }[] };
    return [...new Set(versions.map(({ kek }) => kek))];
  } catch {
    return [];
  }
}
