import { crc32 } from 'node:zlib';
import { hashBytes } from '../format/merkle.ts';

/**
 * A frame of the write-ahead file: what one flush wrote.
 *
 *   u32le magic 'KAW1' | u32le body length | u64le first index | u32le count | 32-byte root before this frame
 *   | u32le crc32(body) | u32le flags (0) | u32le crc32(header[0:60])
 *   body = (u16be length || entry)*, which is the encoding of entry bundles (C2SP tlog-tiles)
 *
 * The CRCs tell an unfinished write from a finished one. What tells of intent is the roots.
 */
export const frameHeaderBytes = 64;

const magic = 0x3157414b;
const magicBytes = Buffer.from('KAW1');
/** 2,048 slots of 4 KiB, twice: what may wait while the disk is full, and the log's own records. */
export const maxFrameBody = 16 * 1024 * 1024;

export interface FrameHeader {
  readonly bodyLength: number;
  readonly firstIndex: number;
  readonly count: number;
  readonly rootBefore: Uint8Array;
}

/** Writes the header into frame[0:64] for the body that follows it there. */
export function writeFrameHeader(frame: Buffer, header: FrameHeader): void {
  const { bodyLength, firstIndex, count, rootBefore } = header;
  frame.writeUInt32LE(magic, 0);
  frame.writeUInt32LE(bodyLength, 4);
  writeU64(frame, firstIndex, 8);
  frame.writeUInt32LE(count, 16);
  frame.set(rootBefore, 20);
  frame.writeUInt32LE(crc32(frame.subarray(frameHeaderBytes, frameHeaderBytes + bodyLength)), 52);
  frame.writeUInt32LE(0, 56);
  frame.writeUInt32LE(crc32(frame.subarray(0, 60)), 60);
}

/** The whole frame at `offset`, or undefined where there is none that is sound in itself. */
export function readFrame(file: Buffer, offset: number): FrameHeader | undefined {
  if (offset + frameHeaderBytes > file.length || file.readUInt32LE(offset) !== magic) return undefined;
  if (crc32(file.subarray(offset, offset + 60)) !== file.readUInt32LE(offset + 60)) return undefined;
  const bodyLength = file.readUInt32LE(offset + 4);
  const body = offset + frameHeaderBytes;
  if (bodyLength > maxFrameBody || body + bodyLength > file.length) return undefined;
  if (crc32(file.subarray(body, body + bodyLength)) !== file.readUInt32LE(offset + 52)) return undefined;
  if (file.readUInt32LE(offset + 56) !== 0) return undefined;
  return {
    bodyLength,
    firstIndex: readU64(file, offset + 8),
    count: file.readUInt32LE(offset + 16),
    rootBefore: Uint8Array.from(file.subarray(offset + 20, offset + 20 + hashBytes)),
  };
}

/** The place, from `offset` on, of the next sound frame; undefined where nothing but damage follows. */
export function findFrame(file: Buffer, offset: number): number | undefined {
  for (let at = file.indexOf(magicBytes, offset); at >= 0; at = file.indexOf(magicBytes, at + 1)) {
    if (readFrame(file, at) !== undefined) return at;
  }
  return undefined;
}

/**
 * Calls `entry` with the place of each entry's bytes in a body of `count` entries; false where the body does not hold
 * exactly that many, or `entry` said so.
 */
export function eachEntry(
  bytes: Buffer,
  start: number,
  length: number,
  count: number,
  entry: (start: number, length: number) => boolean,
): boolean {
  const end = start + length;
  let at = start;
  for (let index = 0; index < count; index++) {
    if (at + 2 > end) return false;
    const entryLength = bytes.readUInt16BE(at);
    at += 2 + entryLength;
    if (at > end || !entry(at - entryLength, entryLength)) return false;
  }
  return at === end;
}

export function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}

export function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at);
}
