import { join } from 'node:path';
import { type Files, type ReadableFiles, systemFiles } from '../disk/files.ts';
import { eachEntry } from '../disk/frames.ts';
import {
  chunkLeaves,
  epochDirectory,
  epochsIn,
  isKeyFile,
  type Layout,
  layoutOf,
  segmentLeaves,
  segmentsIn,
  walFilesIn,
} from '../disk/layout.ts';
import { readSealedBundle } from '../disk/segments.ts';
import { WalIndex } from '../disk/wal-index.ts';
import { parseCheckpoint } from '../format/checkpoint.ts';
import { Frontier, hashBytes, leafHash } from '../format/merkle.ts';
import { parseNote } from '../format/note.ts';
import { type AuditRecord, parseRecord } from '../format/record.ts';
import {
  bundleBytes,
  entriesLevel,
  hashesAt,
  parseTilePath,
  type TileCoordinates,
  type TileReader,
} from '../format/tiles.ts';

/** The newest checkpoint of a log directory, as it lies there: not verified. */
export interface StoredCheckpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
  readonly note: Buffer;
}

/** 64 bundles of 80 KB, and their leaf hashes. */
const cachedChunks = 64;

/**
 * Reads the log of one epoch, while it is written or after. Everything it serves as a tile lies under the published
 * checkpoint: what is behind it may be lost with the power, and must not have been shown to anyone.
 */
export class LogReader implements TileReader {
  readonly layout: Layout;
  readonly #files: ReadableFiles;
  /** Of write-ahead files: where their frames lie, and how far the file was read. */
  readonly #walFiles = new Map<number, WalIndex>();
  readonly #bundles = new Map<number, Buffer>();
  readonly #leafTiles = new Map<number, Buffer>();
  readonly #chunkRoots = new Map<number, Uint8Array>();
  #checkpoint: StoredCheckpoint | undefined;
  #size = 0;

  constructor(files: Files, directory: string) {
    this.#files = withDamageAsMissing(files);
    this.layout = layoutOf(directory);
    this.refresh();
  }

  /** Records that could be read at the last `refresh`, those behind the checkpoint included. */
  get size(): number {
    return this.#size;
  }

  /** Looks again at what the log's writer has done since. */
  refresh(): void {
    // The checkpoint first: then everything under it is there when the rest is looked at.
    this.#checkpoint = this.#readCheckpoint();
    const sealed = (segmentsIn(this.#files, this.layout, 'state').at(-1) ?? -1) + 1;
    this.#size = sealed * segmentLeaves;
    for (const first of walFilesIn(this.#files, this.layout)) {
      // Sealed, and not removed yet; or no file of ours.
      if (first < sealed * segmentLeaves || first % segmentLeaves !== 0) continue;
      const index = this.#walFiles.get(first) ?? new WalIndex(first);
      this.#walFiles.set(first, index);
      index.read(this.#files, this.layout.walFile(first));
      // Each file for itself: one that is damaged or missing hides none of those behind it.
      if (index.count > 0) this.#size = first + index.count;
    }
    for (const first of this.#walFiles.keys()) {
      if (first < sealed * segmentLeaves) this.#walFiles.delete(first);
    }
  }

  checkpoint(): StoredCheckpoint | undefined {
    return this.#checkpoint;
  }

  /** The first index whose entry is kept. */
  get minimumIndex(): number {
    const sealed = segmentsIn(this.#files, this.layout, 'state').at(-1);
    const oldest = segmentsIn(this.#files, this.layout, 'ents.zst')[0];
    return sealed === undefined || oldest === 0 ? 0 : (oldest ?? sealed + 1) * segmentLeaves;
  }

  /** The bytes of one record; undefined where it is not in the log, or was removed by retention. */
  entry(index: number): Buffer | undefined {
    if (!Number.isSafeInteger(index) || index < 0 || index >= this.#size) return undefined;
    const chunk = Math.floor(index / chunkLeaves);
    const fromWal = this.#walEntries(index, index + 1);
    if (fromWal !== undefined) return fromWal.subarray(2);
    const bundle = this.#bundle(chunk, Math.min(chunkLeaves, this.#size - chunk * chunkLeaves));
    let found: Buffer | undefined;
    let at = 0;
    if (bundle === undefined) return undefined;
    eachEntry(bundle, 0, bundle.length, chunkLeaves, (start, length) => {
      if (at++ === index % chunkLeaves) found = bundle.subarray(start, start + length);
      return found === undefined;
    });
    return found;
  }

  record(index: number): AuditRecord | undefined {
    const entry = this.entry(index);
    return entry && parseRecord(entry);
  }

  /**
   * Records from `from` on, up to `to`; those that retention removed, or that are damaged, are passed over. `containing`:
   * bundles without these bytes are passed over whole, which costs a tenth of parsing them.
   */
  *records(
    from = 0,
    to = this.#size,
    containing?: Buffer,
  ): Generator<{ index: number; record: AuditRecord }> {
    const end = Math.min(to, this.#size);
    const start = Math.max(from, this.minimumIndex);
    for (let chunk = Math.floor(start / chunkLeaves); chunk * chunkLeaves < end; chunk++) {
      const first = chunk * chunkLeaves;
      const bundle = this.#bundle(chunk, Math.min(chunkLeaves, end - first));
      if (bundle === undefined) {
        yield* this.#singleRecords(Math.max(start, first), Math.min(first + chunkLeaves, end));
        continue;
      }
      const found: { index: number; record: AuditRecord }[] = [];
      let index = first;
      if (containing !== undefined && !bundle.includes(containing)) continue;
      eachEntry(bundle, 0, bundle.length, Math.min(chunkLeaves, end - first), (at, length) => {
        const record = index < start ? undefined : parseRecord(bundle.subarray(at, at + length));
        if (record !== undefined) found.push({ index, record });
        index++;
        return true;
      });
      yield* found;
    }
  }

  /** Those records of a damaged chunk that lie in whole frames. A sealed bundle is whole or not there. */
  *#singleRecords(from: number, to: number): Generator<{ index: number; record: AuditRecord }> {
    for (let index = from; index < to; index++) {
      const entry = this.#walEntries(index, index + 1);
      const record = entry && parseRecord(entry.subarray(2));
      if (record !== undefined) yield { index, record };
    }
  }

  /** `checkpoint`, a file of keys/, or a tile or bundle under the newest checkpoint, in the width that the path asks for. */
  read(path: string): Uint8Array | undefined {
    if (path === 'checkpoint') return this.#checkpoint?.note;
    if (isKeyFile(path)) return this.#files.read(join(this.layout.directory, path));
    const tile = parseTilePath(path);
    return tile && this.tile(tile);
  }

  tile({ level, index, width }: TileCoordinates): Uint8Array | undefined {
    const size = this.#checkpoint?.size ?? 0;
    if (index * chunkLeaves + width > hashesAt(level, size)) return undefined;
    if (level === entriesLevel) return this.#bundle(index, width);
    if (level === 0) return this.#leafTile(index, width);
    const hashes: Uint8Array[] = [];
    for (let at = 0; at < width; at++) {
      const hash = this.#hash(level, index * chunkLeaves + at);
      if (hash === undefined) return undefined;
      hashes.push(hash);
    }
    return Buffer.concat(hashes);
  }

  /** The root of a complete subtree of 256^level leaves. */
  #hash(level: number, index: number): Uint8Array | undefined {
    if (level === 0) {
      const at = (index % chunkLeaves) * hashBytes;
      return this.#leafTile(Math.floor(index / chunkLeaves), chunkLeaves)?.subarray(at, at + hashBytes);
    }
    const stored =
      level === 1 ? this.#sealedChunkRoot(index) : level === 2 ? this.#segmentRoot(index) : undefined;
    if (stored !== undefined) return stored;
    const cached = level === 1 ? this.#chunkRoots.get(index) : undefined;
    if (cached !== undefined) return cached;
    const frontier = new Frontier();
    for (let at = 0; at < chunkLeaves; at++) {
      const hash = this.#hash(level - 1, index * chunkLeaves + at);
      if (hash === undefined) return undefined;
      frontier.append(hash);
    }
    const root = frontier.root();
    if (level === 1) remember(this.#chunkRoots, index, root, chunkLeaves * 4);
    return root;
  }

  #sealedChunkRoot(chunk: number): Uint8Array | undefined {
    const tile = this.#files.read(this.layout.tile(Math.floor(chunk / chunkLeaves)));
    const at = (chunk % chunkLeaves) * hashBytes;
    return tile?.length === chunkLeaves * hashBytes ? tile.subarray(at, at + hashBytes) : undefined;
  }

  #segmentRoot(segment: number): Uint8Array | undefined {
    if (
      this.#files.read(this.layout.snapshot(segment)) === undefined &&
      segment * segmentLeaves >= this.#sealedSize()
    ) {
      return undefined;
    }
    const root = this.#files
      .read(this.layout.roots)
      ?.subarray(segment * hashBytes, (segment + 1) * hashBytes);
    return root?.length === hashBytes ? root : undefined;
  }

  #sealedSize(): number {
    return ((segmentsIn(this.#files, this.layout, 'state').at(-1) ?? -1) + 1) * segmentLeaves;
  }

  /** The leaf hashes of the first `width` entries of a chunk; undefined where one of these entries is not readable. */
  #leafTile(chunk: number, width: number): Buffer | undefined {
    const known = this.#leafTiles.get(chunk);
    if (known !== undefined && known.length >= width * hashBytes) return known.subarray(0, width * hashBytes);
    const bundle = this.#bundle(chunk, width);
    if (bundle === undefined) return undefined;
    const hashes: Buffer[] = [];
    eachEntry(bundle, 0, bundle.length, width, (start, length) => {
      hashes.push(leafHash(bundle.subarray(start, start + length)));
      return true;
    });
    const tile = Buffer.concat(hashes);
    remember(this.#leafTiles, chunk, tile, cachedChunks);
    return tile;
  }

  /** The first `width` entries of a chunk: exactly these, or undefined. */
  #bundle(chunk: number, width: number): Buffer | undefined {
    const first = chunk * chunkLeaves;
    const fromWal = this.#walEntries(first, first + width);
    // The entries that it does not have may have been sealed since the last look.
    if (fromWal !== undefined) return fromWal;
    const known = this.#bundles.get(chunk) ?? readSealedBundle(this.#files, this.layout, chunk);
    if (known === undefined) return undefined;
    remember(this.#bundles, chunk, known, cachedChunks);
    if (width === chunkLeaves) return known;
    const length = bundleBytes(known, width);
    return length === undefined ? undefined : known.subarray(0, length);
  }

  /** Entries [from, to) of one segment, out of its write-ahead file. */
  #walEntries(from: number, to: number): Buffer | undefined {
    const first = Math.floor(from / segmentLeaves) * segmentLeaves;
    const path = this.layout.walFile(first);
    return this.#walFiles.get(first)?.entries(this.#files, path, from - first, to - first);
  }

  #readCheckpoint(): StoredCheckpoint | undefined {
    const bytes = this.#files.read(this.layout.checkpoint);
    const note = bytes && parseNote(bytes);
    const checkpoint = note?.ok ? parseCheckpoint(note.value.text) : undefined;
    return bytes !== undefined && checkpoint?.ok ? { ...checkpoint.value, note: bytes } : undefined;
  }
}

/** A file that the system will not give (a directory or a link in its place, a bad sector, no right) is as one that is missing. */
function withDamageAsMissing(files: Files): ReadableFiles {
  const damaged = ['EACCES', 'EIO', 'EISDIR', 'ELOOP', 'ENOTDIR', 'EPERM'];
  const unlessDamaged = <T>(act: () => T): T | undefined => {
    try {
      return act();
    } catch (error) {
      if (damaged.includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
      throw error;
    }
  };
  return {
    open: (path, how) => files.open(path, how),
    read: (path) => unlessDamaged(() => files.read(path)),
    list: (directory) => unlessDamaged(() => files.list(directory)) ?? [],
  };
}

function remember<V>(cache: Map<number, V>, key: number, value: V, limit: number): void {
  if (cache.size >= limit) cache.delete(cache.keys().next().value as number);
  cache.set(key, value);
}

/**
 * Opens a log directory: that of one epoch (it has wal/ and checkpoint in it), or the audit directory, whose newest
 * epoch is taken.
 */
export function openLogReader(directory: string, files: Files = systemFiles): LogReader {
  const newest = epochsIn(files, directory).at(-1);
  return new LogReader(files, newest === undefined ? directory : epochDirectory(directory, newest));
}
