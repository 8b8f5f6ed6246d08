import { ok, type Result, refuse } from '../../core/result.ts';
import {
  consistencyProof,
  Frontier,
  hashBytes,
  inclusionProof,
  leafHash,
  type NodeSource,
  rootAt,
  rootOf,
  type TileHashSink,
} from './merkle.ts';

/** Tiles and entry bundles: C2SP tlog-tiles. */

/** Hashes of a full tile, entries of a full bundle. */
export const tileWidth = 256;

/** The largest number in two bytes of length. */
const maxEntryBytes = 65_535;

/** Level 0 has the hashes of leaves, level n those of full tiles of level n - 1; -1 stands for the entries. */
export interface TileCoordinates {
  readonly level: number;
  readonly index: number;
  /** 1 to 255 of a partial tile, 256 of a full one. */
  readonly width: number;
}

export const entriesLevel = -1;

/** Groups of three digits, all but the last after an x: 1234067 is x001/x234/067. */
function indexPath(index: number): string {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/.{3}/g)!;
  return groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/');
}

/** The path under the log's prefix: tile/<level or entries>/<index>[.p/<width>]. */
export function tilePath({ level, index, width }: TileCoordinates): string {
  const partial = width === tileWidth ? '' : `.p/${width}`;
  return `tile/${level === entriesLevel ? 'entries' : level}/${indexPath(index)}${partial}`;
}

const pathForm =
  /^tile\/(entries|[0-9]|[1-5][0-9]|6[0-3])\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/;

/** The inverse of `tilePath`; undefined for every other text, other ways of writing the same index included. */
export function parseTilePath(path: string): TileCoordinates | undefined {
  const [, levelText, indexText, widthText] = pathForm.exec(path) ?? [];
  if (levelText === undefined || indexText === undefined) return undefined;
  const level = levelText === 'entries' ? entriesLevel : Number(levelText);
  const index = Number(indexText.replaceAll(/[x/]/g, ''));
  const width = widthText === undefined ? tileWidth : Number(widthText);
  if (!Number.isSafeInteger(index) || width > tileWidth) return undefined;
  const coordinates = { level, index, width };
  return tilePath(coordinates) === path ? coordinates : undefined;
}

/** The number of hashes in all tiles of a level, in a tree of `size` leaves; of entries, as of leaf hashes. */
export function hashesAt(level: number, size: number): number {
  return Math.floor(size / tileWidth ** Math.max(level, 0));
}

/** Width of a tile in a tree of `size` leaves: 0 where there is none, at most 256. */
export function widthAt(level: number, index: number, size: number): number {
  return Math.max(0, Math.min(tileWidth, hashesAt(level, size) - index * tileWidth));
}

/** Every tile of one level in a tree of `size` leaves, the partial one last; with `from`, those from this index on. */
export function* tilesAt(level: number, size: number, from = 0): Generator<TileCoordinates> {
  for (let index = from; ; index++) {
    const width = widthAt(level, index, size);
    if (width > 0) yield { level, index, width };
    if (width < tileWidth) return;
  }
}

/** The levels that have tiles in a tree of `size` leaves, from 0. */
export function tileLevels(size: number): number[] {
  const levels: number[] = [];
  for (let level = 0; hashesAt(level, size) > 0; level++) levels.push(level);
  return levels;
}

/** The bundle of entries: of each its length in two bytes, big-endian, and itself. */
export function encodeBundle(entries: readonly Uint8Array[]): Buffer {
  const bundle = Buffer.alloc(entries.reduce((sum, entry) => sum + 2 + entry.length, 0));
  let at = 0;
  for (const entry of entries) {
    if (entry.length > maxEntryBytes) throw new RangeError('an entry has at most 65,535 bytes');
    at = bundle.writeUInt16BE(entry.length, at);
    bundle.set(entry, at);
    at += entry.length;
  }
  return bundle;
}

/** The first `count` entries of a bundle, as views. Refused where it holds fewer, or is cut within one. */
export function decodeBundle(bundle: Uint8Array, count: number): Result<Uint8Array[]> {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (entries.length < count) {
    const end = at + 2 + ((bundle[at] ?? 0) << 8) + (bundle[at + 1] ?? 0);
    if (at + 2 > bundle.length || end > bundle.length) {
      return refuse('BadRequest', 'an entry bundle is shorter than its entries');
    }
    entries.push(bundle.subarray(at + 2, end));
    at = end;
  }
  return ok(entries);
}

/** The number of bytes that the first `count` entries of a bundle take; undefined where it holds fewer. */
export function bundleBytes(bundle: Uint8Array, count: number): number | undefined {
  const entries = decodeBundle(bundle, count);
  return entries.ok ? entries.value.reduce((sum, entry) => sum + 2 + entry.length, 0) : undefined;
}

/** A log's files by their paths under its prefix: an exported directory, a live log, a web server. */
export interface TileReader {
  /** `tile/…` or `checkpoint`; undefined where there is no such file. A partial tile may be missing where its full one is there. */
  read(path: string): Uint8Array | undefined;
}

/** A tile or bundle is missing or has the wrong length; thrown within this file only, where a proof asks for its hashes. */
class MissingTile extends Error {}

/** The tile's bytes in exactly its width: the partial tile, or the beginning of the full one that took its place. */
export function readTile(reader: TileReader, tile: TileCoordinates): Uint8Array | undefined {
  const asked = reader.read(tilePath(tile));
  const bytes =
    asked === undefined && tile.width < tileWidth
      ? reader.read(tilePath({ ...tile, width: tileWidth }))
      : asked;
  if (bytes === undefined) return undefined;
  const length = tile.level === entriesLevel ? bundleBytes(bytes, tile.width) : tile.width * hashBytes;
  if (length === undefined || bytes.length < length) return undefined;
  // A file of the asked width that goes on after it is not that file.
  if (asked !== undefined && bytes.length !== length) return undefined;
  return bytes.subarray(0, length);
}

/** A proof over 2^53 leaves reads two tiles on each level; the rest is room for neighbouring proofs. */
const cachedTiles = 64;

/** Complete subtrees of a tree of `size` leaves, out of its tiles. */
function nodeSource(reader: TileReader, size: number): NodeSource {
  const cache = new Map<string, Uint8Array>();
  const tileOf = (tile: TileCoordinates): Uint8Array => {
    const path = tilePath(tile);
    const known = cache.get(path);
    if (known !== undefined) return known;
    const bytes = readTile(reader, tile);
    if (bytes === undefined) throw new MissingTile();
    if (cache.size >= cachedTiles) cache.delete(cache.keys().next().value!);
    cache.set(path, bytes);
    return bytes;
  };
  return (nodeLevel, nodeIndex) => {
    const level = Math.floor(nodeLevel / 8);
    const width = 2 ** (nodeLevel % 8);
    const first = nodeIndex * width;
    const index = Math.floor(first / tileWidth);
    const bytes = tileOf({ level, index, width: widthAt(level, index, size) });
    const hashes: Uint8Array[] = [];
    for (let at = first % tileWidth; hashes.length < width; at++) {
      hashes.push(bytes.subarray(at * hashBytes, (at + 1) * hashBytes));
    }
    return rootOf(hashes);
  };
}

function fromTiles<T>(reader: TileReader, size: number, make: (node: NodeSource) => T): Result<T> {
  try {
    return ok(make(nodeSource(reader, size)));
  } catch (cause) {
    if (cause instanceof MissingTile) {
      return refuse('NotFound', 'a tile that is needed is missing or too short');
    }
    throw cause;
  }
}

/** The root of the first `size` leaves, out of the tiles; `readable` is the size that the reader has, at least `size`. */
export function rootFromTiles(reader: TileReader, size: number, readable = size): Result<Uint8Array> {
  return fromTiles(reader, readable, (node) => rootAt(size, node));
}

/** The right edge of the first `size` leaves of a log of `readable`: where somebody who reads on has to begin. */
export function frontierFromTiles(
  reader: TileReader,
  size: number,
  readable: number,
  onTileHash?: TileHashSink,
): Result<Frontier> {
  return fromTiles(reader, readable, (node) => {
    const nodes: Uint8Array[] = [];
    let at = size;
    for (let level = 0, width = 1; at > 0; level++, width *= 2) {
      if (Math.floor(at / width) % 2 === 0) continue;
      at -= width;
      nodes.unshift(node(level, at / width));
    }
    return Frontier.of(size, nodes, onTileHash);
  });
}

/** RFC 6962 inclusion proof of leaf `index` in the tree of `size`, out of the tiles of a log of `readable` leaves. */
export function inclusionFromTiles(
  reader: TileReader,
  index: number,
  size: number,
  readable = size,
): Result<Uint8Array[]> {
  return fromTiles(reader, readable, (node) => inclusionProof(index, size, node));
}

/** RFC 6962 consistency proof, out of the tiles of a log of `readable` leaves. */
export function consistencyFromTiles(
  reader: TileReader,
  from: number,
  to: number,
  readable = to,
): Result<Uint8Array[]> {
  return fromTiles(reader, readable, (node) => consistencyProof(from, to, node));
}

/** Leaf `index` of a log of `size` leaves, out of its bundle. */
export function entryFromTiles(reader: TileReader, index: number, size: number): Result<Uint8Array> {
  const at = Math.floor(index / tileWidth);
  const tile = { level: entriesLevel, index: at, width: widthAt(entriesLevel, at, size) };
  const bundle = index >= 0 && index < size ? readTile(reader, tile) : undefined;
  const entries = bundle && decodeBundle(bundle, tile.width);
  const entry = entries?.ok ? entries.value[index % tileWidth] : undefined;
  return entry === undefined ? refuse('NotFound', 'the entry is not in the log') : ok(entry);
}

/** The level-0 tile of a bundle: the leaf hashes of its entries. */
export function leafTile(entries: readonly Uint8Array[]): Buffer {
  return Buffer.concat(entries.map((entry) => leafHash(entry)));
}
