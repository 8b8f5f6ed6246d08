import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { withArchive } from '../../audit/disk/archive.ts';
import { systemFiles } from '../../audit/disk/files.ts';
import { epochsIn } from '../../audit/disk/layout.ts';
import { minimumIndexOf, staticReader } from '../../audit/disk/static-log.ts';
import {
  type Checkpoint,
  type OpenedCheckpoint,
  openCheckpoint,
  parseCheckpoint,
} from '../../audit/format/checkpoint.ts';
import { type NoteKey, parseNote } from '../../audit/format/note.ts';
import type { TileReader } from '../../audit/format/tiles.ts';
import { type LogReader, openLogReader } from '../../audit/reading/log-reader.ts';
import { fail, failWith } from '../fail.ts';

/** Exit status of commands that found the log to be something else than it should be. 1 is for everything else. */
export const notVerified = 2;

/** A log as the commands read it. */
export interface OpenLog {
  readonly tiles: TileReader;
  /** The newest signed checkpoint; undefined where there is none yet. */
  readonly note: Uint8Array | undefined;
  /** Leaves under the checkpoint: what is behind it may be lost with the power, and is shown to nobody. */
  readonly size: number;
  readonly minimumIndex: number;
  /** The log as it is now. */
  refresh(): OpenLog;
}

export const logHelp =
  'an exported log, the audit directory of a service (<data directory>/audit), or one epoch in it (audit/e1)';

export const keysHelp =
  'a file of the verifier keys that you trust, one a line or as GET /v1/kms/audit/vkeys gives them';

function openStatic(directory: string): OpenLog {
  const tiles = staticReader(directory);
  const note = tiles.read('checkpoint');
  const minimumIndex = minimumIndexOf(tiles);
  if (Number.isNaN(minimumIndex)) fail(`${join(directory, 'minimum-index')} is not a number`);
  return {
    tiles,
    note,
    size: note === undefined ? 0 : claimed(note).size,
    minimumIndex,
    refresh: () => openStatic(directory),
  };
}

function ofReader(reader: LogReader): OpenLog {
  return {
    tiles: reader,
    note: reader.checkpoint()?.note,
    size: reader.checkpoint()?.size ?? 0,
    minimumIndex: reader.minimumIndex,
    refresh() {
      reader.refresh();
      return ofReader(reader);
    },
  };
}

/** True if the directory is a service's own, and not an export. */
export function isLive(directory: string): boolean {
  return existsSync(join(directory, 'wal')) || epochsIn(systemFiles, directory).length > 0;
}

/** Opens what lies in the directory, with what was moved to an archive beside it, or ends the command. */
export function openLog(directory: string, archive?: string): OpenLog {
  for (const named of [directory, archive ?? directory]) {
    if (!existsSync(named)) fail(`there is no directory ${named}`);
  }
  if (archive !== undefined && !isLive(directory))
    fail('--archive goes with the audit directory of a service');
  if (!isLive(directory)) return openStatic(directory);
  const files = archive === undefined ? systemFiles : withArchive(systemFiles, directory, archive);
  return ofReader(openLogReader(directory, files));
}

export const archiveFlag = '--archive <directory>';
export const archiveHelp = 'where audit archive has moved the oldest records, to read them as well';

/** A checkpoint's own claims; nothing is verified. */
export function claimed(note: Uint8Array): Checkpoint {
  const parsed = parseNote(note);
  const checkpoint = parsed.ok ? parseCheckpoint(parsed.value.text) : parsed;
  return checkpoint.ok ? checkpoint.value : failWith(notVerified, checkpoint.failure.hint ?? '');
}

/** The checkpoint of a log, opened with these keys of it; ends the command where it does not verify. */
export function trusted(
  note: Uint8Array | undefined,
  keys: readonly NoteKey[],
  what: string,
): OpenedCheckpoint {
  if (note === undefined) failWith(notVerified, `${what} has no checkpoint`);
  const opened = openCheckpoint(note, keys[0]!.name, keys);
  return opened.ok ? opened.value : failWith(notVerified, `${what}: ${opened.failure.hint}`);
}

export const archivedFlag = '--allow-archived <index>';
export const archivedHelp =
  'entries before this index were moved elsewhere: they may be missing though no record of the log says so';

/** A whole number given on the command line. */
export function countOf(text: string, option: string): number {
  const count = /^[0-9]{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(count) ? count : fail(`${option} takes a whole number`);
}

/** A file that was named on the command line. */
export function readInput(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    return fail(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}
