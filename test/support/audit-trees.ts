import { formatCheckpoint, signCheckpoint } from '../../src/audit/format/checkpoint.ts';
import { Frontier, leafHash, type NodeSource, nodeHash } from '../../src/audit/format/merkle.ts';
import type { NoteSigner } from '../../src/audit/format/note.ts';
import {
  encodeBundle,
  entriesLevel,
  type TileReader,
  tilePath,
  tileWidth,
} from '../../src/audit/format/tiles.ts';

/** A tree held whole in memory, the slow and plain way: what the fast ways are compared with. */
export class MemoryTree {
  readonly #levels: Uint8Array[][] = [[]];
  readonly entries: Uint8Array[] = [];

  constructor(entries: Iterable<Uint8Array> = []) {
    for (const entry of entries) this.append(entry);
  }

  get size(): number {
    return this.entries.length;
  }

  append(entry: Uint8Array): void {
    this.entries.push(entry);
    this.#levels[0]!.push(leafHash(entry));
    for (let level = 0; this.#levels[level]!.length % 2 === 0; level++) {
      const [left, right] = this.#levels[level]!.slice(-2) as [Uint8Array, Uint8Array];
      const above = this.#levels[level + 1] ?? [];
      this.#levels[level + 1] = above;
      above.push(nodeHash(left, right));
    }
  }

  readonly node: NodeSource = (level, index) => this.#levels[level]![index]!;

  /** RFC 6962 section 2.1, as it stands there. */
  root(size = this.size): Uint8Array {
    const frontier = new Frontier();
    for (let index = 0; index < size; index++) frontier.append(this.node(0, index));
    return frontier.root();
  }

  /** Every file of the log at this size, by path. */
  files(): Map<string, Uint8Array> {
    const files = new Map<string, Uint8Array>();
    for (let start = 0; start < this.size; start += tileWidth) {
      const entries = this.entries.slice(start, start + tileWidth);
      files.set(
        tilePath({ level: entriesLevel, index: start / tileWidth, width: entries.length }),
        encodeBundle(entries),
      );
    }
    for (let level = 0; this.#levels[level * 8]?.length; level++) {
      const hashes = this.#levels[level * 8]!;
      for (let start = 0; start < hashes.length; start += tileWidth) {
        const some = hashes.slice(start, start + tileWidth);
        files.set(tilePath({ level, index: start / tileWidth, width: some.length }), Buffer.concat(some));
      }
    }
    return files;
  }

  checkpointText(origin: string): string {
    return formatCheckpoint({ origin, size: this.size, root: this.root() });
  }

  async checkpoint(origin: string, signers: readonly NoteSigner[]): Promise<Uint8Array> {
    return signCheckpoint({ origin, size: this.size, root: this.root() }, signers, 1_763_769_600);
  }
}

export function reader(files: ReadonlyMap<string, Uint8Array>): TileReader {
  return { read: (path) => files.get(path) };
}

/** Entries that are the decimal numbers from 0: the second tree of the vectors. */
export function* decimals(count: number): Generator<Uint8Array> {
  for (let number = 0; number < count; number++) yield Buffer.from(String(number));
}
