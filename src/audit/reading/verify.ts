import type { Checkpoint } from '../format/checkpoint.ts';
import { Frontier, hashBytes } from '../format/merkle.ts';
import { parseRecord } from '../format/record.ts';
import {
  decodeBundle,
  entriesLevel,
  frontierFromTiles,
  leafTile,
  readTile,
  type TileReader,
  tilePath,
  tilesAt,
  tileWidth,
  widthAt,
} from '../format/tiles.ts';
import { keptFrom } from './retention.ts';

/** Reads a whole log and says what does not fit: every entry, every hash of every tile, the root, every record. */

export interface Finding {
  /** The first leaf that it concerns. */
  readonly index: number;
  readonly what: string;
}

export interface VerifiedSoFar {
  /** Leaves up to which everything was read. */
  readonly done: number;
  readonly size: number;
}

export interface Verified {
  /** Records read; less than the checkpoint's size where the oldest are not here. */
  readonly records: number;
  /** Entries before it are not here; 0: all are. */
  readonly firstHere: number;
  /** The log's own records say that entries before it are no longer kept. */
  readonly keptFrom: number;
  readonly keys: number;
  /** Microseconds since 1970, of the first record read and the last. */
  readonly firstTs: number | undefined;
  readonly lastTs: number | undefined;
  /** The first of them, in the order of the log. None: the log is what its checkpoint says. */
  readonly findings: readonly Finding[];
}

export interface VerifyOptions {
  /** Entries before it are not here; their hashes above level 0 are. */
  readonly minimumIndex?: number;
  /** Entries before it may be missing although no record of the log says that they are no longer kept. */
  readonly archivedBefore?: number;
  /** Older checkpoints that this log must continue: each root is compared with the one of the same size now. */
  readonly older?: readonly Checkpoint[];
  /** Sequence numbers of a later epoch go on where the one before ended; in the first one they begin at 1. */
  readonly laterEpoch?: boolean;
}

/** Enough to see where it begins; one damaged bundle makes a finding in each level. */
const maxFindings = 20;

class Check {
  readonly findings: Finding[] = [];
  readonly #seqs = new Map<string, number>();
  readonly #anyStart: boolean;
  firstTs: number | undefined;
  lastTs: number | undefined;
  records = 0;
  keptFrom = 0;

  constructor(anyStart: boolean) {
    this.#anyStart = anyStart;
  }

  get keys(): number {
    return this.#seqs.size;
  }

  find(index: number, what: string): void {
    if (this.findings.length < maxFindings) this.findings.push({ index, what });
  }

  record(index: number, entry: Uint8Array): void {
    this.records++;
    const record = parseRecord(entry);
    if (record === undefined) {
      this.find(index, 'the entry is not a record in its canonical form');
      return;
    }
    this.keptFrom = Math.max(this.keptFrom, keptFrom(record) ?? 0);
    const { key_id, seq, ts } = record;
    const before = this.#seqs.get(key_id);
    const expected = before === undefined ? (this.#anyStart ? seq : 1) : before + 1;
    if (seq !== expected) this.find(index, `a record of a key has seq ${seq} where ${expected} comes next`);
    this.#seqs.set(key_id, seq);
    if (this.lastTs !== undefined && ts < this.lastTs) this.find(index, 'the time of a record goes back');
    this.firstTs ??= ts;
    this.lastTs = ts;
  }
}

/** Compares the hashes of full tiles, as they come up, with the tiles of the levels above. */
function tileChecker(reader: TileReader, size: number, check: Check) {
  const told: number[] = [];
  const current: { path: string; bytes: Uint8Array | undefined }[] = [];
  return {
    startAt(leaves: number): void {
      for (let level = 1, width = tileWidth; width <= size; level++, width *= tileWidth) {
        told[level] = Math.floor(leaves / width);
      }
    },
    see(level: number, hash: Uint8Array): void {
      const at = told[level] ?? 0;
      told[level] = at + 1;
      const index = Math.floor(at / tileWidth);
      const tile = { level, index, width: widthAt(level, index, size) };
      const path = tilePath(tile);
      const leaf = at * tileWidth ** level;
      if (current[level]?.path !== path) {
        current[level] = { path, bytes: readTile(reader, tile) };
        if (current[level].bytes === undefined) check.find(leaf, `${path} is missing or has a wrong length`);
      }
      const offset = (at % tileWidth) * hashBytes;
      const stored = current[level].bytes?.subarray(offset, offset + hashBytes);
      if (stored !== undefined && Buffer.compare(stored, hash) !== 0) {
        check.find(leaf, `hash ${at % tileWidth} of ${path} is not the one of the tile below`);
      }
    },
  };
}

/** Gives how far it is after each bundle; returns what it found. `checkpoint` has been opened with trusted keys. */
export function* verifyLog(
  reader: TileReader,
  checkpoint: Checkpoint,
  { minimumIndex = 0, archivedBefore = 0, older = [], laterEpoch = false }: VerifyOptions = {},
): Generator<VerifiedSoFar, Verified> {
  const { size } = checkpoint;
  const check = new Check(laterEpoch || minimumIndex > 0);
  const tiles = tileChecker(reader, size, check);
  const start = Math.min(
    Math.ceil(minimumIndex / tileWidth) * tileWidth,
    Math.floor(size / tileWidth) * tileWidth,
  );
  tiles.startAt(start);
  const begun = frontierFromTiles(reader, start, size, tiles.see);
  if (!begun.ok) check.find(0, 'hashes of the entries that are no longer kept are missing');
  const frontier = begun.ok ? begun.value : new Frontier();
  const oldest = older.toSorted((a, b) => a.size - b.size);
  const compare = (upTo: number) => {
    while (oldest[0] !== undefined && oldest[0].size <= upTo) {
      const { size: at, root } = oldest.shift()!;
      if (at >= start && Buffer.compare(frontier.root(), root) !== 0) {
        check.find(at, `the log does not continue the older checkpoint of size ${at}`);
      }
      if (at < start)
        check.find(at, `the older checkpoint of size ${at} is before the first entry that is kept`);
    }
  };

  if (begun.ok) {
    compare(start);
    for (const { index, width } of tilesAt(0, size, start / tileWidth)) {
      const first = index * tileWidth;
      const bundle = { level: entriesLevel, index, width };
      const bytes = readTile(reader, bundle);
      const entries = bytes && decodeBundle(bytes, width);
      if (!entries?.ok) {
        check.find(first, `${tilePath(bundle)} is missing, cut or too long`);
        break;
      }
      const leaves = leafTile(entries.value);
      const tile = { level: 0, index, width };
      const stored = readTile(reader, tile);
      if (stored === undefined || Buffer.compare(stored, leaves) !== 0) {
        check.find(first, `the entries of ${tilePath(bundle)} do not hash to ${tilePath(tile)}`);
      }
      for (const [at, entry] of entries.value.entries()) {
        check.record(first + at, entry);
        frontier.append(leaves.subarray(at * hashBytes, (at + 1) * hashBytes));
        if (oldest[0]?.size === frontier.size) compare(frontier.size);
      }
      yield { done: frontier.size, size };
    }
    if (frontier.size === size && Buffer.compare(frontier.root(), checkpoint.root) !== 0) {
      check.find(0, 'the entries do not hash to the root of the checkpoint');
    }
  }
  for (const { size: at } of oldest.filter((other) => other.size > size))
    check.find(size, `the log is shorter than the older checkpoint of size ${at}`);
  const expected = Math.max(check.keptFrom, archivedBefore);
  if (start > expected) {
    check.find(
      expected,
      `the entries from ${expected} to ${start - 1} are missing, and no record says that they are no longer kept`,
    );
  }
  const { records, keys, firstTs, lastTs, findings } = check;
  return { records, firstHere: start, keptFrom: check.keptFrom, keys, firstTs, lastTs, findings };
}
