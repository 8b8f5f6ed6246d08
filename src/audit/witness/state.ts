import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Checkpoint, checkpointMessage, parseCheckpoint } from '../format/checkpoint.ts';
import { type NoteKey, parseNote, verifyNote } from '../format/note.ts';
import { originHash } from './add-checkpoint.ts';

/** A witness's memory of a log: the newest checkpoint that it cosigned, and the note with its cosignatures. */
export interface CosignedCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly note: Uint8Array;
}

export interface WitnessStore {
  load(origin: string): CosignedCheckpoint | undefined;
  /** Durable when it returns. */
  save(origin: string, note: Uint8Array): void;
}

/** The file of a log holds something else than a checkpoint that this witness signed; nothing may be signed on top of it. */
class DamagedState extends Error {}

/**
 * One file a log, <directory>/<hash of the origin>/checkpoint, which is also what is served to monitors. Each has to
 * carry a cosignature by one of `keys`: a file of somebody else's making would lead the witness onto a fork.
 */
export function fileStore(directory: string, keys: readonly NoteKey[]): WitnessStore {
  const folder = (origin: string) => join(directory, originHash(origin));
  return {
    load(origin) {
      let note: Uint8Array;
      try {
        note = readFileSync(join(folder(origin), 'checkpoint'));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
      const parsed = parseNote(note);
      const checkpoint = parsed.ok ? parseCheckpoint(parsed.value.text) : parsed;
      const signed = parsed.ok && verifyNote(parsed.value, keys, checkpointMessage).ok;
      if (!checkpoint.ok || !signed || checkpoint.value.origin !== origin) {
        throw new DamagedState('a state file is not a checkpoint that this witness cosigned');
      }
      return { checkpoint: checkpoint.value, note };
    },
    save(origin, note) {
      mkdirSync(folder(origin), { recursive: true, mode: 0o755 });
      const path = join(folder(origin), 'checkpoint');
      writeSynced(`${path}.tmp`, note);
      renameSync(`${path}.tmp`, path);
      syncDirectory(folder(origin));
      syncDirectory(directory);
    },
  };
}

function writeSynced(path: string, bytes: Uint8Array): void {
  const fd = openSync(path, 'w', 0o644);
  try {
    for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
