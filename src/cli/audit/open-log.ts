import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type Checkpoint,
  type OpenedCheckpoint,
  openCheckpoint,
  parseCheckpoint,
} from '../../audit/checkpoint.ts';
import { parseNote } from '../../audit/note.ts';
import { minimumIndexOf, staticReader } from '../../audit/static-log.ts';
import type { TileReader } from '../../audit/tiles.ts';
import { fail, failWith } from '../fail.ts';
import { readVkeys } from '../vkeys.ts';

/** Exit status of commands that found the log to be something else than it should be. 1 is for everything else. */
export const notVerified = 2;

/** A log as the commands read it. */
export interface OpenLog {
  readonly tiles: TileReader;
  /** The newest signed checkpoint; undefined where there is none yet. */
  readonly note: Uint8Array | undefined;
  /** Leaves that can be read; more than the checkpoint's while the service runs. */
  readonly size: number;
  readonly minimumIndex: number;
}

export const logHelp =
  'an exported log, the audit directory of a service (<data directory>/audit), or one epoch in it (audit/e1)';

export const keysHelp = 'a file of the verifier keys that you trust, one a line (GET /v1/kms/audit/vkeys)';

function openStatic(directory: string): OpenLog {
  const tiles = staticReader(directory);
  const note = tiles.read('checkpoint');
  const minimumIndex = minimumIndexOf(tiles);
  if (Number.isNaN(minimumIndex)) fail(`${join(directory, 'minimum-index')} is not a number`);
  return { tiles, note, size: note === undefined ? 0 : claimed(note).size, minimumIndex };
}

/** Opens what lies in the directory, or ends the command. */
export function openLog(directory: string): OpenLog {
  if (!existsSync(directory)) fail(`there is no directory ${directory}`);
  return openStatic(directory);
}

/** What a checkpoint says of itself; nothing is verified. */
export function claimed(note: Uint8Array): Checkpoint {
  const parsed = parseNote(note);
  const checkpoint = parsed.ok ? parseCheckpoint(parsed.value.text) : parsed;
  return checkpoint.ok ? checkpoint.value : failWith(notVerified, checkpoint.failure.hint ?? '');
}

/** The checkpoint of a log, opened with the keys in a file; ends the command where it does not verify. */
export function trusted(note: Uint8Array | undefined, keysFile: string, what: string): OpenedCheckpoint {
  const keys = readVkeys(keysFile);
  if (note === undefined) failWith(notVerified, `${what} has no checkpoint`);
  const opened = openCheckpoint(note, keys[0]!.name, keys);
  return opened.ok ? opened.value : failWith(notVerified, `${what}: ${opened.failure.hint}`);
}

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
