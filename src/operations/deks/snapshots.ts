import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
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
  remove(snapshot: DekSnapshot): Promise<void>;
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
  for (const name of await readdir(directory))
    if (name.endsWith('.new')) await rm(join(directory, name), { force: true });
  return {
    async write(dek, target) {
      const file = join(directory, `${dek.id}.kek-v${target}.json`);
      // The same name again: the same content, or what a kill has left of it.
      await writeFile(`${file}.new`, `${textOf(dek)}\n`, { mode: 0o600 });
      await rename(`${file}.new`, file);
    },
    sync: () => syncPath(directory),
    async list() {
      const found: DekSnapshot[] = [];
      for (const name of await readdir(directory)) {
        const [, dekId, target] = nameOf.exec(name) ?? [];
        if (dekId === undefined) continue;
        const file = join(directory, name);
        const { mtimeMs } = await stat(file);
        const keks = async () => keksIn(await readFile(file, 'utf8'));
        found.push({ dekId, target: Number(target), file, writtenAtMs: mtimeMs, keks });
      }
      return found;
    },
    remove: ({ file }) => rm(file, { force: true }),
  };
}

/** None, where there is no file: a service in memory. */
export const noSnapshots: DekSnapshots = {
  write: async () => {},
  sync: () => {},
  list: async () => [],
  remove: async () => {},
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
