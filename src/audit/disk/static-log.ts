import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Checkpoint } from '../format/checkpoint.ts';
import {
  entriesLevel,
  parseTilePath,
  readTile,
  type TileCoordinates,
  type TileReader,
  tileLevels,
  tilePath,
  tilesAt,
  tileWidth,
} from '../format/tiles.ts';
import { parseTlogProof } from '../format/tlog-proof.ts';
import { isKeyFile, keyFile } from './layout.ts';

/** A log as plain files, as C2SP tlog-tiles lays them out: what any web server can serve and any tool of others reads. */

/** The first index whose entries are kept, as decimal text with a line feed; missing: all of them are. */
const minimumIndexFile = 'minimum-index';

function missing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
}

export function staticReader(directory: string): TileReader {
  return {
    read(path) {
      const named = path === 'checkpoint' || path === minimumIndexFile || isKeyFile(path);
      if (!named && parseTilePath(path) === undefined) return undefined;
      try {
        return readFileSync(join(directory, path));
      } catch (error) {
        if (missing(error)) return undefined;
        throw error;
      }
    },
  };
}

/** The first kept index, from the file of that name; 0 where there is none, NaN where it is not a number. */
export function minimumIndexOf(reader: TileReader): number {
  const bytes = reader.read(minimumIndexFile);
  if (bytes === undefined) return 0;
  const text = Buffer.from(bytes).toString('latin1').trimEnd();
  return /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
}

export interface ExportedTile {
  /** Leaves up to the end of the last bundle written. */
  readonly done: number;
  /** A file that the log should have and has not; nothing further is written. */
  readonly missing?: string;
}

/**
 * Writes a log at a checkpoint into a directory, bundle by bundle; what is given tells how far it is. Full tiles and
 * bundles that are there already are left alone: they never change. The checkpoint comes last, so that a directory that
 * has one has all that belongs to it.
 */
export function* exportLog(
  reader: TileReader,
  { size }: Checkpoint,
  note: Uint8Array,
  minimumIndex: number,
  directory: string,
): Generator<ExportedTile, void> {
  const first = Math.floor(minimumIndex / tileWidth);
  for (const level of tileLevels(size).toReversed()) {
    // Below the first kept entry, hashes of full bundles are kept and those of leaves are not.
    for (const tile of tilesAt(level, size, level === 0 ? first : 0)) {
      const files = level === 0 ? [tile, { ...tile, level: entriesLevel }] : [tile];
      for (const file of files) {
        if (!copyTile(reader, file, directory)) {
          yield { done: level === 0 ? tile.index * tileWidth : 0, missing: tilePath(file) };
          return;
        }
      }
      if (level === 0) yield { done: tile.index * tileWidth + tile.width };
    }
  }
  exportKeyFiles(reader, size, directory);
  if (minimumIndex > 0) writeFile(join(directory, minimumIndexFile), Buffer.from(`${minimumIndex}\n`));
  writeFile(join(directory, 'checkpoint'), note);
}

/** As far as they lie under this checkpoint: keys may be replaced while the log is exported. */
function exportKeyFiles(reader: TileReader, size: number, directory: string): void {
  for (let number = 0; ; number++) {
    const [recordFile, proofFile] = [keyFile(number, 'json'), keyFile(number, 'tlog-proof')];
    const [record, proof] = [reader.read(recordFile), reader.read(proofFile)];
    const parsed = proof && parseTlogProof(proof);
    if (record === undefined || proof === undefined || !parsed?.ok || parsed.value.size > size) return;
    writeFile(join(directory, recordFile), record);
    writeFile(join(directory, proofFile), proof);
  }
}

function copyTile(reader: TileReader, tile: TileCoordinates, directory: string): boolean {
  const path = tilePath(tile);
  if (tile.width === tileWidth && readTile(staticReader(directory), tile) !== undefined) return true;
  const bytes = readTile(reader, tile);
  if (bytes === undefined) return false;
  writeFile(join(directory, path), bytes);
  return true;
}

/** Beside its place and renamed into it: nobody who reads while this writes finds half a file. */
function writeFile(path: string, bytes: Uint8Array): void {
  // As private as the log that it comes from: whoever publishes it decides that.
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const fd = openSync(`${path}.tmp`, 'w', 0o600);
  try {
    for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written);
    if (path.endsWith('checkpoint')) fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(`${path}.tmp`, path);
}
