import { join } from 'node:path';
import { parseCheckpoint } from './checkpoint.ts';
import { type Files, systemFiles } from './files.ts';
import { eachEntry, frameHeaderBytes, readFrame } from './frames.ts';
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
} from './layout.ts';
import { Frontier, hashBytes, leafHash } from './merkle.ts';
import { parseNote } from './note.ts';
import { type AuditRecord, parseRecord } from './record.ts';
import { readSealedBundle } from './segments.ts';
import { entriesLevel, hashesAt, parseTilePath, type TileCoordinates, type TileReader } from './tiles.ts';

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
  readonly #files: Files;
  /** Of write-ahead files: where each entry lies, and how far the file was read. */
  readonly #walFiles = new Map<number, WalIndex>();
  readonly #bundles = new Map<number, Buffer>();
  readonly #leafTiles = new Map<number, Buffer>();
  readonly #chunkRoots = new Map<number, Uint8Array>();
  #checkpoint: StoredCheckpoint | undefined;
  #size = 0;

  constructor(files: Files, directory: string) {
    this.#files = files;
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
      if (first !== this.#size) continue;
      const index = this.#walFiles.get(first) ?? new WalIndex();
      this.#walFiles.set(first, index);
      index.read(this.#files, this.layout.walFile(first));
      this.#size += index.count;
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
      const found: { index: number; record: AuditRecord }[] = [];
      let index = first;
      if (bundle === undefined || (containing !== undefined && !bundle.includes(containing))) continue;
      eachEntry(bundle, 0, bundle.length, Math.min(chunkLeaves, end - first), (at, length) => {
        const record = index < start ? undefined : parseRecord(bundle.subarray(at, at + length));
        if (record !== undefined) found.push({ index, record });
        index++;
        return true;
      });
      yield* found;
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
      return this.#leafTile(Math.floor(index / chunkLeaves))?.subarray(at, at + hashBytes);
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

  #leafTile(chunk: number): Buffer | undefined {
    const known = this.#leafTiles.get(chunk);
    const width = Math.min(chunkLeaves, this.#size - chunk * chunkLeaves);
    if (known !== undefined && known.length === width * hashBytes) return known;
    const bundle = width > 0 ? this.#bundle(chunk, width) : undefined;
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

  /** The first `width` entries of a chunk. */
  #bundle(chunk: number, width: number): Buffer | undefined {
    const first = Math.floor(chunk / chunkLeaves) * segmentLeaves;
    const index = this.#walFiles.get(first);
    if (index !== undefined) {
      const from = chunk * chunkLeaves - first;
      const bundle = index.entries(this.#files, this.layout.walFile(first), from, from + width);
      // Sealed since the last look.
      if (bundle !== undefined) return bundle;
    }
    const known = this.#bundles.get(chunk) ?? readSealedBundle(this.#files, this.layout, chunk);
    if (known === undefined) return undefined;
    remember(this.#bundles, chunk, known, cachedChunks);
    if (width === chunkLeaves) return known;
    let [count, end] = [0, 0];
    eachEntry(known, 0, known.length, chunkLeaves, (start, length) => {
      end = start + length;
      return ++count < width;
    });
    return known.subarray(0, end);
  }

  #readCheckpoint(): StoredCheckpoint | undefined {
    const bytes = this.#files.read(this.layout.checkpoint);
    const note = bytes && parseNote(bytes);
    const checkpoint = note?.ok ? parseCheckpoint(note.value.text) : undefined;
    return bytes !== undefined && checkpoint?.ok ? { ...checkpoint.value, note: bytes } : undefined;
  }
}

/** Where the entries of a growing write-ahead file lie. */
class WalIndex {
  /** Offset of each entry's length in the file; the end of the last one behind them. */
  #starts = new Float64Array(1_024);
  #ends = new Float64Array(1_024);
  #offset = 0;
  count = 0;

  /** Takes in whole frames that came since. */
  read(files: Files, path: string): void {
    let file: ReturnType<Files['open']>;
    try {
      file = files.open(path, 'read');
    } catch {
      return;
    }
    try {
      const bytes = Buffer.allocUnsafe(Math.max(0, file.size() - this.#offset));
      const news = bytes.subarray(0, file.read(bytes, this.#offset));
      for (let at = 0; at < news.length; ) {
        const frame = readFrame(news, at);
        if (frame === undefined) return;
        const body = at + frameHeaderBytes;
        eachEntry(news, body, frame.bodyLength, frame.count, (start, length) => {
          this.#add(this.#offset + start - at - 2, this.#offset + start - at + length);
          return true;
        });
        const frameBytes = frameHeaderBytes + frame.bodyLength;
        at += frameBytes;
        this.#offset += frameBytes;
      }
    } finally {
      file.close();
    }
  }

  #add(start: number, end: number): void {
    if (this.count === this.#starts.length) {
      [this.#starts, this.#ends] = [this.#starts, this.#ends].map((old) => {
        const larger = new Float64Array(old.length * 2);
        larger.set(old);
        return larger;
      }) as [Float64Array<ArrayBuffer>, Float64Array<ArrayBuffer>];
    }
    this.#starts[this.count] = start;
    this.#ends[this.count] = end;
    this.count++;
  }

  /** The bundle of entries [from, to), which frames' headers may interrupt. */
  entries(files: Files, path: string, from: number, to: number): Buffer | undefined {
    if (to > this.count) return undefined;
    let file: ReturnType<Files['open']>;
    try {
      file = files.open(path, 'read');
    } catch {
      return undefined;
    }
    try {
      const begin = this.#starts[from] as number;
      const bytes = Buffer.allocUnsafe((this.#ends[to - 1] as number) - begin);
      if (file.read(bytes, begin) !== bytes.length) return undefined;
      const pieces: Buffer[] = [];
      for (let at = from; at < to; at++) {
        pieces.push(bytes.subarray((this.#starts[at] as number) - begin, (this.#ends[at] as number) - begin));
      }
      return Buffer.concat(pieces);
    } finally {
      file.close();
    }
  }
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
