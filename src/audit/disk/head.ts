import { timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { MacKey } from '../../core/mac-key.ts';
import { emptyRoot, hashBytes } from '../format/merkle.ts';
import { type Files, type LogFile, type ReadableFiles, writeAll } from './files.ts';
import { readU64, writeU64 } from './frames.ts';

/** The tree at some size. */
export interface TreeHead {
  readonly size: number;
  readonly root: Uint8Array;
}

export const emptyTree: TreeHead = { size: 0, root: emptyRoot };

/** The log's memory of itself outside the audit directory. */
export interface Head {
  readonly epoch: number;
  /** Of write(2). Binding as long as the machine has not restarted since: the page cache loses nothing. */
  readonly written: TreeHead;
  readonly bootId: string;
  /** Of fdatasync(2): binding always. */
  readonly durable: TreeHead;
  /** Of the newest checkpoint that was signed and anchored: binding always. */
  readonly checkpoint: TreeHead;
  /** The log was closed in order: nothing may follow, nothing may be torn. */
  readonly clean: boolean;
  /**
   * A backup that was made beside a running service was restored: the log goes further than the key store, by any number of
   * changes of each key.
   */
  readonly restored: boolean;
  /** The first index whose entries are kept; a multiple of 65,536. */
  readonly minimumIndex: number;
}

/**
 * One slot of HEAD:
 *   'KAH1' | u32le epoch | u64le counter | u64le written size | root | 16-byte boot id | u64le durable size | root
 *   | u64le checkpoint size | root | u32le flags (1: clean, 2: restored)
 *   | u64le minimum index | HMAC-SHA-256 of what precedes
 */
const magic = Buffer.from('KAH1');
const cleanFlag = 1;
const restoredFlag = 2;
const macAt = 164;
const slotBytes = macAt + hashBytes;
/** A page each, so that a torn write spoils one slot and never both. */
const slotStride = 4_096;

/** The boot id where the system has none: equal to no other, not even to itself. */
export const unknownBootId = '0'.repeat(32);

/** 32 hex digits. Of the host, also in a container; survives suspension and migration, as memory does. */
export function readBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim().replaceAll('-', '');
  } catch {
    return unknownBootId;
  }
}

export class HeadFile {
  readonly #file: LogFile;
  readonly #key: MacKey;
  readonly #slot = Buffer.alloc(slotBytes);
  #counter: number;

  /** `counter`: of the slot that is in force. */
  constructor(files: Files, path: string, key: MacKey, counter: number) {
    this.#file = files.open(path, 'write');
    this.#key = key;
    this.#counter = counter;
  }

  /** One pwrite into the older slot. Needs no sync of its own: an older HEAD only demands less. */
  write(head: Head): void {
    const slot = this.#slot;
    this.#counter++;
    magic.copy(slot);
    slot.writeUInt32LE(head.epoch, 4);
    writeU64(slot, this.#counter, 8);
    writeTree(slot, head.written, 16);
    slot.write(head.bootId, 56, 16, 'hex');
    writeTree(slot, head.durable, 72);
    writeTree(slot, head.checkpoint, 112);
    slot.writeUInt32LE((head.clean ? cleanFlag : 0) | (head.restored ? restoredFlag : 0), 152);
    writeU64(slot, head.minimumIndex, 156);
    slot.set(this.#key.mac(slot.subarray(0, macAt)), macAt);
    writeAll(this.#file, slot, slotBytes, (this.#counter % 2) * slotStride);
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  close(): void {
    this.#file.close();
  }
}

/** `missing`: there is no file, or an empty one. `damaged`: there is one, and no slot of it is authentic. */
export type HeadFound = { readonly head: Head; readonly counter: number } | 'missing' | 'damaged';

export function readHead(files: Files, path: string, key: MacKey): HeadFound {
  const bytes = files.read(path);
  if (bytes === undefined || bytes.length === 0) return 'missing';
  let newest: { head: Head; counter: number } | undefined;
  for (const start of [0, slotStride]) {
    const slot = bytes.subarray(start, start + slotBytes);
    if (slot.length < slotBytes || !slot.subarray(0, 4).equals(magic)) continue;
    const authentic = timingSafeEqual(key.mac(slot.subarray(0, macAt)), slot.subarray(macAt));
    const counter = readU64(slot, 8);
    if (authentic && (newest === undefined || counter > newest.counter)) {
      newest = { head: parseSlot(slot), counter };
    }
  }
  return newest ?? 'damaged';
}

/**
 * The newest slot as it lies there, without the key that would show whether it is authentic: for commands that only ask what they
 * may move away. Undefined where there is none.
 */
export function claimedHead(files: ReadableFiles, path: string): Head | undefined {
  const bytes = files.read(path) ?? Buffer.alloc(0);
  const slots = [0, slotStride]
    .map((start) => bytes.subarray(start, start + slotBytes))
    .filter((slot) => slot.length === slotBytes && slot.subarray(0, 4).equals(magic));
  const newest = slots.sort((a, b) => readU64(b, 8) - readU64(a, 8))[0];
  return newest && parseSlot(newest);
}

function parseSlot(slot: Buffer): Head {
  return {
    epoch: slot.readUInt32LE(4),
    written: readTree(slot, 16),
    bootId: slot.toString('hex', 56, 72),
    durable: readTree(slot, 72),
    checkpoint: readTree(slot, 112),
    clean: (slot.readUInt32LE(152) & cleanFlag) !== 0,
    restored: (slot.readUInt32LE(152) & restoredFlag) !== 0,
    minimumIndex: readU64(slot, 156),
  };
}

function writeTree(slot: Buffer, { size, root }: TreeHead, at: number): void {
  writeU64(slot, size, at);
  slot.set(root, at + 8);
}

function readTree(slot: Buffer, at: number): TreeHead {
  return { size: readU64(slot, at), root: Uint8Array.from(slot.subarray(at + 8, at + 8 + hashBytes)) };
}
