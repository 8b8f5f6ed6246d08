import { constants, crc32, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { hashBytes } from '../format/merkle.ts';
import { parseRecord } from '../format/record.ts';
import { type Files, type ReadableFiles, replaceFile, writeAll } from './files.ts';
import { eachEntry, frameHeaderBytes, readFrame, readU64, writeU64 } from './frames.ts';
import { chunkLeaves, type Layout, segmentLeaves, segmentsIn, walFilesIn } from './layout.ts';

/** The arguments of sealing besides the entries. Plain, so that they cross to another thread. */
export interface SegmentToSeal {
  readonly segment: number;
  /** The level-1 tile: roots of its 256 chunks. */
  readonly tile: Uint8Array;
  readonly root: Uint8Array;
}

/**
 * A sealed segment's entries:
 *   'KAS1' | u32le 256 | u64le first index | 256 x u32le compressed length | u32le crc32 of what precedes
 *   | 256 entry bundles (C2SP tlog-tiles), each compressed alone with zstd, with its checksum
 */
const magic = Buffer.from('KAS1');
const tableAt = 16;
const headerBytes = tableAt + chunkLeaves * 4 + 4;
/** Entries have at most 65,535 bytes and 2 for their length. */
const maxBundleBytes = chunkLeaves * 65_537;

const compression = {
  params: {
    // 68 bytes and 1.5 us a record; higher levels gain little on JSON this repetitive.
    [constants.ZSTD_c_compressionLevel]: 1,
    [constants.ZSTD_c_checksumFlag]: 1,
  },
};

/**
 * Seals a segment all of whose frames lie in its write-ahead file: bundles, tile and root first, then the snapshot that
 * replay begins with, and only then does the write-ahead file go. A crash after any step leaves the log whole, and
 * sealing is done again. Takes about 100 ms of its thread.
 */
export async function sealSegment(
  files: Files,
  layout: Layout,
  { segment, tile, root }: SegmentToSeal,
  snapshot: Uint8Array,
): Promise<void> {
  const firstIndex = segment * segmentLeaves;
  const wal = files.read(layout.walFile(firstIndex));
  // Sealed before, up to a crash or a failure just before the end.
  if (wal === undefined) return removeReplaced(files, layout, segment);
  const bundles: Buffer[] = [];
  for (const bundle of bundlesOf(wal)) bundles.push(zstdCompressSync(bundle, compression));
  if (bundles.length !== chunkLeaves) throw new Error('the segment to seal is not whole');

  const header = Buffer.alloc(headerBytes);
  magic.copy(header);
  header.writeUInt32LE(chunkLeaves, 4);
  writeU64(header, firstIndex, 8);
  for (const [index, { length }] of bundles.entries()) header.writeUInt32LE(length, tableAt + index * 4);
  header.writeUInt32LE(crc32(header.subarray(0, headerBytes - 4)), headerBytes - 4);
  files.makeDirectory(layout.segments);
  await replaceFile(files, layout.entries(segment), Buffer.concat([header, ...bundles]));
  await replaceFile(files, layout.tile(segment), tile);
  await writeRoot(files, layout, segment, root);
  await replaceFile(files, layout.snapshot(segment), snapshot);
  await removeReplaced(files, layout, segment);
}

/** Removes what sealing up to this segment has replaced, and what a crash or a failure left of segments before it. */
async function removeReplaced(files: Files, layout: Layout, segment: number): Promise<void> {
  for (const older of segmentsIn(files, layout, 'state')) {
    // The one before the newest stays, for the case that the newest is lost.
    if (older < segment - 1) files.remove(layout.snapshot(older));
  }
  for (const firstIndex of walFilesIn(files, layout)) {
    if (firstIndex <= segment * segmentLeaves) files.remove(layout.walFile(firstIndex));
  }
  await files.syncDirectory(layout.wal);
}

/** The bundles of a whole write-ahead file, whose frames may begin and end anywhere between them. */
function* bundlesOf(wal: Buffer): Generator<Buffer> {
  let pieces: Buffer[] = [];
  let entries = 0;
  for (let offset = 0; offset < wal.length; ) {
    const frame = readFrame(wal, offset);
    if (frame === undefined) throw new Error('the segment to seal is damaged');
    const bodyStart = offset + frameHeaderBytes;
    const bodyEnd = bodyStart + frame.bodyLength;
    const complete: Buffer[] = [];
    let from = bodyStart;
    eachEntry(wal, bodyStart, frame.bodyLength, frame.count, (start, length) => {
      entries++;
      if (entries % chunkLeaves === 0) {
        pieces.push(wal.subarray(from, start + length));
        complete.push(Buffer.concat(pieces));
        pieces = [];
        from = start + length;
      }
      return true;
    });
    if (from < bodyEnd) pieces.push(wal.subarray(from, bodyEnd));
    yield* complete;
    offset = bodyEnd;
  }
}

async function writeRoot(files: Files, layout: Layout, segment: number, root: Uint8Array): Promise<void> {
  const file = files.open(layout.roots, 'write');
  try {
    writeAll(file, root, hashBytes, segment * hashBytes);
    await file.sync();
  } finally {
    file.close();
  }
}

/** The full entry bundle of a chunk of a sealed segment; undefined where its entries are not here, or damaged. */
export function readSealedBundle(files: ReadableFiles, layout: Layout, chunk: number): Buffer | undefined {
  const segment = Math.floor(chunk / chunkLeaves);
  if (!files.list(layout.segments).includes(fileName(layout.entries(segment)))) return undefined;
  let file: ReturnType<ReadableFiles['open']>;
  try {
    file = files.open(layout.entries(segment), 'read');
  } catch {
    return undefined;
  }
  try {
    const header = Buffer.alloc(headerBytes);
    if (file.read(header, 0) !== headerBytes || !isHeaderOf(header, segment)) return undefined;
    let at = headerBytes;
    const index = chunk % chunkLeaves;
    for (let before = 0; before < index; before++) at += header.readUInt32LE(tableAt + before * 4);
    const length = header.readUInt32LE(tableAt + index * 4);
    if (at + length > file.size()) return undefined;
    const compressed = Buffer.alloc(length);
    const bundle = file.read(compressed, at) === length ? decompress(compressed) : undefined;
    return bundle && eachEntry(bundle, 0, bundle.length, chunkLeaves, () => true) ? bundle : undefined;
  } catch {
    // A bad sector, or a directory in the place of the file.
    return undefined;
  } finally {
    file.close();
  }
}

/** The time of a sealed segment's last record, in microseconds since 1970; undefined where that cannot be read. */
export function lastRecordUs(files: ReadableFiles, layout: Layout, segment: number): number | undefined {
  const bundle = readSealedBundle(files, layout, (segment + 1) * chunkLeaves - 1);
  let last: Uint8Array | undefined;
  if (bundle === undefined) return undefined;
  eachEntry(bundle, 0, bundle.length, chunkLeaves, (start, length) => {
    last = bundle.subarray(start, start + length);
    return true;
  });
  return last && parseRecord(last)?.ts;
}

/** All bundles of a sealed segment, in order; undefined in the place of one that is damaged. */
export function* sealedBundles(files: Files, layout: Layout, segment: number): Generator<Buffer | undefined> {
  const bytes = files.read(layout.entries(segment));
  if (bytes === undefined || bytes.length < headerBytes || !isHeaderOf(bytes, segment)) {
    yield undefined;
    return;
  }
  let at = headerBytes;
  for (let index = 0; index < chunkLeaves; index++) {
    const length = bytes.readUInt32LE(tableAt + index * 4);
    yield at + length <= bytes.length ? decompress(bytes.subarray(at, at + length)) : undefined;
    at += length;
  }
  // Nothing may follow.
  if (at !== bytes.length) yield undefined;
}

function isHeaderOf(bytes: Buffer, segment: number): boolean {
  return (
    bytes.subarray(0, 4).equals(magic) &&
    bytes.readUInt32LE(4) === chunkLeaves &&
    readU64(bytes, 8) === segment * segmentLeaves &&
    crc32(bytes.subarray(0, headerBytes - 4)) === bytes.readUInt32LE(headerBytes - 4)
  );
}

function decompress(compressed: Buffer): Buffer | undefined {
  try {
    return zstdDecompressSync(compressed, { maxOutputLength: maxBundleBytes });
  } catch {
    return undefined;
  }
}

function fileName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
