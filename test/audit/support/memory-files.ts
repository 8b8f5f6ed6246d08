import { dirname } from 'node:path';
import type { Files, LogFile } from '../../../src/audit/disk/files.ts';

type Operation = 'write' | 'sync';

/** A file's bytes as the page cache has them, and as the disk has them. */
interface Node {
  cached: Buffer;
  length: number;
  durable: Buffer;
  /** Bytes that a failed sync did not write, and that count as clean since: no later sync writes them. */
  forgotten?: { from: number; to: number };
}

/**
 * A file system in memory that can fail as disks do, and lose power: what was not synced is gone then, or partly there.
 * Names are durable with the directory's sync; 4 KiB pages with the file's.
 */
export class MemoryFiles implements Files {
  #names = new Map<string, Node>();
  #durableNames = new Map<string, Node>();
  readonly #directories = new Set<string>();
  /** Bytes that are left; writes that extend a file take from it. */
  freeBytes = 2 ** 40;
  totalBytes = 2 ** 41;
  /** Called before each write and sync: throws to make it fail. */
  fault: (operation: Operation, path: string) => void = () => {};
  /** At most this many bytes go with one write. */
  maxWrite = Number.POSITIVE_INFINITY;
  /** Syncs wait for it. */
  syncGate: Promise<void> = Promise.resolve();
  syncs = 0;

  open(path: string, how: 'read' | 'write'): LogFile {
    let node = this.#names.get(path);
    if (node === undefined) {
      if (how === 'read') throw systemError('ENOENT');
      node = { cached: Buffer.alloc(0), length: 0, durable: Buffer.alloc(0) };
      this.#names.set(path, node);
    }
    return this.#file(path, node);
  }

  #file(path: string, node: Node): LogFile {
    return {
      size: () => node.length,
      read: (into, position) =>
        node.cached.copy(into, 0, position, Math.min(node.length, position + into.length)),
      write: (bytes, from, wished, position) => {
        this.fault('write', path);
        let length = Math.min(wished, this.maxWrite);
        const growth = position + length - node.length;
        if (growth > this.freeBytes) length -= growth - this.freeBytes;
        if (length <= 0) throw systemError('ENOSPC');
        const end = position + length;
        if (end > node.cached.length) {
          node.cached = Buffer.concat([node.cached], Math.max(end, node.cached.length * 2));
        }
        node.cached.set(bytes.subarray(from, from + length), position);
        if (end > node.length) this.freeBytes -= end - node.length;
        node.length = Math.max(node.length, end);
        return length;
      },
      sync: async () => {
        const seen = Buffer.from(node.cached.subarray(0, node.length));
        await this.syncGate;
        try {
          this.fault('sync', path);
        } catch (error) {
          node.forgotten ??= { from: node.durable.length, to: seen.length };
          throw error;
        }
        this.syncs++;
        if (node.forgotten !== undefined) seen.fill(0, node.forgotten.from, node.forgotten.to);
        node.durable = seen;
      },
      truncate: (size) => {
        this.freeBytes += Math.max(0, node.length - size);
        node.length = Math.min(size, node.length);
      },
      close: () => {},
    };
  }

  read(path: string): Buffer | undefined {
    const node = this.#names.get(path);
    return node && Buffer.from(node.cached.subarray(0, node.length));
  }

  list(directory: string): string[] {
    const within = (path: string) => path.startsWith(`${directory}/`);
    const names = [...this.#names.keys(), ...this.#directories]
      .filter(within)
      .map((path) => path.slice(directory.length + 1).split('/')[0] as string);
    return [...new Set(names)].sort();
  }

  makeDirectory(path: string): void {
    this.#directories.add(path);
  }

  rename(from: string, to: string): void {
    this.#names.set(to, this.#names.get(from) as Node);
    this.#names.delete(from);
  }

  remove(path: string): void {
    this.freeBytes += this.#names.get(path)?.length ?? 0;
    this.#names.delete(path);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.syncGate;
    this.fault('sync', path);
    for (const names of [this.#names, this.#durableNames]) {
      for (const name of names.keys()) {
        if (dirname(name) !== path) continue;
        const node = this.#names.get(name);
        if (node === undefined) this.#durableNames.delete(name);
        else this.#durableNames.set(name, node);
      }
    }
  }

  space(): { freeBytes: number; totalBytes: number } {
    return { freeBytes: this.freeBytes, totalBytes: this.totalBytes };
  }

  /** Changes a file behind the log's back; what it had is durable. */
  edit(path: string, change: (bytes: Buffer) => Buffer): void {
    const bytes = change(this.read(path) ?? Buffer.alloc(0));
    this.#names.set(path, { cached: bytes, length: bytes.length, durable: Buffer.from(bytes) });
  }

  /** The file, or all files of the directory, as they are now, to be put back. */
  copy(prefix: string): Map<string, Buffer> {
    const copied = new Map<string, Buffer>();
    for (const path of this.paths(prefix)) copied.set(path, this.read(path) as Buffer);
    return copied;
  }

  restore(prefix: string, copied: ReadonlyMap<string, Buffer>): void {
    for (const path of this.paths(prefix)) this.#names.delete(path);
    for (const [path, bytes] of copied) this.edit(path, () => Buffer.from(bytes));
  }

  paths(prefix: string): string[] {
    const within = (path: string) =>
      path === prefix || path.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`);
    return [...this.#names.keys()].filter(within).sort();
  }

  /** The same files after the process ended: everything is there, in the page cache. */
  afterCrash(): MemoryFiles {
    const next = new MemoryFiles();
    for (const [path, { cached, length, ...disk }] of this.#names) {
      const node = { cached: Buffer.from(cached.subarray(0, length)), length, ...disk };
      next.#names.set(path, node);
      if (this.#durableNames.has(path)) next.#durableNames.set(path, node);
    }
    for (const directory of this.#directories) next.#directories.add(directory);
    return next;
  }

  /**
   * The same files after a power loss. `survives`: whether a page that was written and not synced reached the disk; a
   * file is as long as its last such page.
   */
  afterPowerLoss(survives: () => boolean = () => false): MemoryFiles {
    const next = new MemoryFiles();
    for (const [path, node] of this.#durableNames) {
      const bytes = pagesOf(node, survives);
      const durable = { cached: bytes, length: bytes.length, durable: Buffer.from(bytes) };
      next.#names.set(path, durable);
      next.#durableNames.set(path, durable);
    }
    for (const directory of this.#directories) next.#directories.add(directory);
    return next;
  }
}

const pageBytes = 4_096;

function pagesOf({ cached, length, durable }: Node, survives: () => boolean): Buffer {
  const bytes = Buffer.alloc(Math.max(length, durable.length));
  durable.copy(bytes);
  let end = durable.length;
  for (let at = 0; at < length; at += pageBytes) {
    const to = Math.min(at + pageBytes, length);
    const same = to <= durable.length && cached.subarray(at, to).equals(durable.subarray(at, to));
    if (same || !survives()) continue;
    cached.copy(bytes, at, at, to);
    end = Math.max(end, to);
  }
  return bytes.subarray(0, end);
}

export function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}
