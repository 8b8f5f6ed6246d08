import { basename, dirname, join, relative } from 'node:path';
import type { Files } from './files.ts';

/**
 * The files of a log with those that were moved to an archive, as if they still lay there. An archive has the epochs' directories
 * as the audit directory has them: `<archive>/e1/seg/000000000000.ents.zst`.
 * @param directory the audit directory, or one epoch in it
 */
export function withArchive(files: Files, directory: string, archive: string): Files {
  const base = /^e[1-9][0-9]*$/.test(basename(directory)) ? dirname(directory) : directory;
  const moved = (path: string) => join(archive, relative(base, path));
  return {
    ...files,
    open(path, how) {
      if (how === 'write') return files.open(path, how);
      try {
        return files.open(path, how);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        return files.open(moved(path), how);
      }
    },
    read: (path) => files.read(path) ?? files.read(moved(path)),
    list: (path) => [...new Set([...files.list(path), ...files.list(moved(path))])].sort(),
  };
}
