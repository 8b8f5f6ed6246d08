import { readSync } from 'node:fs';

/**
 * The trees of a data file: each page that is in use is read and held against what points at it. A page has a header of 24
 * bytes, whose last words are the ends of the node table and of the free room (u16 each), or the number of overflow pages (u32).
 * Offsets of nodes count from the end of the header. A node: u16 low, u16 high, u16 flags, u16 key bytes, key, data; in a
 * branch the first three are a page number, in a leaf the first two the size of the data. LMDB keeps no checksums: whether
 * what a record says is right is for its MAC to say.
 */
export const headerBytes = 24;
const nodeBytes = 8;
export const databaseBytes = 48;
const flagsOfPage = { branch: 0x01, leaf: 0x02, overflow: 0x04 } as const;
const flagsOfNode = { bigData: 0x01, subDatabase: 0x02 } as const;
const noRoot = 2n ** 64n - 1n;
/** As deep as LMDB's cursors go. */
const maxDepth = 32;

export interface Meta {
  readonly pageBytes: number;
  readonly lastPage: number;
  readonly transaction: number;
  /** Of free pages, and of everything else: 48 bytes each. */
  readonly databases: readonly [Buffer, Buffer];
}

/** An open data file, and how many of its bytes there are. */
export interface DataFile {
  readonly descriptor: number;
  readonly bytes: number;
}

class Damage extends Error {}

/** The damage, in one line; undefined where every page that is in use is whole. */
export function damageIn(file: DataFile, meta: Meta): string | undefined {
  try {
    const walk = new Walk(file, meta);
    for (const database of meta.databases) walk.tree(database);
    return undefined;
  } catch (cause) {
    if (cause instanceof Damage) return cause.message;
    throw cause;
  }
}

interface Counts {
  branch: number;
  leaf: number;
  overflow: number;
  entries: number;
}

class Walk {
  readonly #file: DataFile;
  readonly #meta: Meta;
  /** One bit a page: a page that two point at is damage, and would make a walk endless. */
  readonly #seen: Uint8Array;

  constructor(file: DataFile, meta: Meta) {
    this.#file = file;
    this.#meta = meta;
    // Pages beyond the end of the file are refused before they are marked.
    this.#seen = new Uint8Array(Math.floor(file.bytes / meta.pageBytes / 8) + 1);
  }

  /** u32 pad | u16 flags | u16 depth | u64 branch, leaf and overflow pages | u64 entries | u64 root */
  tree(database: Buffer): void {
    const root = database.readBigUInt64LE(40);
    if (root === noRoot) return;
    const depth = database.readUInt16LE(6);
    if (depth < 1 || depth > maxDepth) throw new Damage(`a tree of depth ${depth}`);
    const counts: Counts = { branch: 0, leaf: 0, overflow: 0, entries: 0 };
    this.#page(Number(root), depth, counts);
    const said = [8, 16, 24, 32].map((at) => Number(database.readBigUInt64LE(at)));
    const found = [counts.branch, counts.leaf, counts.overflow, counts.entries];
    if (said.some((count, index) => count !== found[index])) {
      throw new Damage(`a tree has ${found} pages and entries, and says ${said}`);
    }
  }

  #page(number: number, levels: number, counts: Counts): void {
    const page = this.#read(number, 1);
    const flags = page.readUInt16LE(18);
    const wanted = levels > 1 ? flagsOfPage.branch : flagsOfPage.leaf;
    if ((flags & 0xff) !== wanted)
      throw new Damage(`page ${number} is of the kind ${flags}, and not ${wanted}`);
    const lower = page.readUInt16LE(20);
    const upper = page.readUInt16LE(22);
    if (lower > upper || upper > page.length - headerBytes || lower % 2 !== 0) {
      throw new Damage(`page ${number} has a node table that does not fit`);
    }
    counts[levels > 1 ? 'branch' : 'leaf'] += 1;
    for (let entry = 0; entry < lower / 2; entry++) {
      const at = headerBytes + page.readUInt16LE(headerBytes + 2 * entry);
      if (at < headerBytes + upper || at + nodeBytes > page.length) {
        throw new Damage(`page ${number} has a node outside of it`);
      }
      const dataAt = at + nodeBytes + page.readUInt16LE(at + 6);
      if (dataAt > page.length) throw new Damage(`page ${number} has a key that does not fit`);
      if (levels === 1) this.#leafNode(number, page, at, dataAt, counts);
      else this.#page(page.readUInt32LE(at) + page.readUInt16LE(at + 4) * 2 ** 32, levels - 1, counts);
    }
  }

  #leafNode(number: number, page: Buffer, at: number, dataAt: number, counts: Counts): void {
    const bytes = page.readUInt32LE(at);
    const flags = page.readUInt16LE(at + 4);
    const big = flags === flagsOfNode.bigData;
    if (flags !== 0 && !big && flags !== flagsOfNode.subDatabase) {
      throw new Damage(`page ${number} has a node of the kind ${flags}`);
    }
    // u64 first page | u64 transaction | u64 pages
    if (dataAt + (big ? 24 : bytes) > page.length)
      throw new Damage(`page ${number} has a value that does not fit`);
    counts.entries += 1;
    if (big) {
      // More than the value takes, where it was longer before within the same transaction.
      const pages = Number(page.readBigUInt64LE(dataAt + 16));
      if (pages * page.length < headerBytes + bytes)
        throw new Damage(`page ${number} has a long value that does not fit`);
      const first = Number(page.readBigUInt64LE(dataAt));
      const flags = this.#read(first, pages).readUInt16LE(18);
      if ((flags & 0xff) !== flagsOfPage.overflow)
        throw new Damage(`page ${first} is not one of a long value`);
      counts.overflow += pages;
    }
    if (flags === flagsOfNode.subDatabase) {
      if (bytes !== databaseBytes) throw new Damage(`page ${number} has a database of ${bytes} bytes`);
      this.tree(page.subarray(dataAt, dataAt + bytes));
    }
  }

  /** The first of so many pages, which are there, are used once and say who they are. */
  #read(number: number, pages: number): Buffer {
    const { pageBytes, lastPage } = this.#meta;
    const end = number + pages;
    if (number < 2 || end - 1 > lastPage) throw new Damage(`a pointer to page ${number}, which there is not`);
    if (end * pageBytes > this.#file.bytes)
      throw new Damage(`page ${end - 1} lies behind the end of the file`);
    for (let each = number; each < end; each++) {
      const bit = 1 << (each & 7);
      if (((this.#seen[each >> 3] as number) & bit) !== 0) throw new Damage(`page ${each} is used twice`);
      this.#seen[each >> 3]! |= bit;
    }
    const page = Buffer.allocUnsafe(pageBytes);
    if (readSync(this.#file.descriptor, page, 0, pageBytes, number * pageBytes) !== pageBytes) {
      throw new Damage(`page ${number} cannot be read`);
    }
    const own = page.readBigUInt64LE(0);
    if (own !== BigInt(number)) throw new Damage(`page ${number} says that it is ${own}`);
    return page;
  }
}
