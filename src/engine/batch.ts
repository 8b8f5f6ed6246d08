import { type Scheme, schemes } from './engine.ts';

/**
 * The layout of a batch, read by both engines, the workers and the main thread. Every number is an unsigned 32-bit
 * little-endian word; both arrays begin on a multiple of four bytes.
 *
 * Request:  count (1..4096) | responseBytes | count x (op, scheme, keyNumber, keyOffset, keyLength, messageOffset,
 *           messageLength, signatureOffset, signatureLength) | bytes that the offsets point at.
 *           A signature to make has its place and room in the response; all other offsets point into the request.
 * Response: count x (status, signatureLength, elapsedNs) | room for signatures.
 */
export const batchHeaderWords = 2;
export const itemWords = 9;
export const resultWords = 3;

/** 4096 items keep the table of a request under 150 KiB and one batch under a second of Ed25519 on one core. */
export const maxBatchItems = 4096;

export const batchOps = {
  sign: 1,
  verify: 2,
  /** ML-DSA with rnd = 0 (FIPS 204, section 3.4), for test vectors only; other schemes: like `sign`. */
  signDeterministic: 3,
} as const;

export const batchStatuses = {
  ok: 0,
  /** The signature is not one of this key over this message; also for wrong lengths and malformed encodings. */
  signatureInvalid: 1,
  /** Sign: the opening does not open (tenant, aad, root or blob), or its key type does not fit the scheme. Verify: no public key of the scheme. */
  keyUnusable: 2,
  /** Offsets or sizes out of range, unknown op or scheme, too little room for the signature. */
  badInput: 3,
  internal: 4,
} as const;
export type BatchStatus = (typeof batchStatuses)[keyof typeof batchStatuses];

/** The most bytes that a signature of the scheme takes, which is the room that a sign item has to offer. */
export const maxSignatureBytes: Readonly<Record<Scheme, number>> = {
  [schemes.ed25519]: 64,
  [schemes['ml-dsa-44']]: 2420,
  [schemes['ml-dsa-65']]: 3309,
  [schemes['ml-dsa-87']]: 4627,
  // SEQUENCE of two INTEGERs of at most 33 bytes.
  [schemes['ecdsa-p256-sha256']]: 72,
  // As long as the modulus; this is RSA-4096. A smaller key takes less.
  [schemes.ps256]: 512,
  [schemes.rs256]: 512,
};

export interface SignItem {
  readonly op: typeof batchOps.sign | typeof batchOps.signDeterministic;
  readonly scheme: Scheme;
  /** Process-unique number of the key version, never reused; 0: the opened key is not cached. */
  readonly keyNumber: number;
  /** The opening of the key, see opening.ts. */
  readonly key: Uint8Array;
  readonly message: Uint8Array;
}

export interface VerifyItem {
  readonly op: typeof batchOps.verify;
  readonly scheme: Scheme;
  readonly keyNumber: number;
  /** The public key in its standard bytes, see GeneratedKey. */
  readonly key: Uint8Array;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

export type BatchItem = SignItem | VerifyItem;

export interface BatchResult {
  readonly status: BatchStatus;
  /** A view into the response, not a copy; empty for a verification and for every status but ok. */
  readonly signature: Uint8Array;
  readonly elapsedNs: number;
}

const wordBytes = 4;
const nothing = new Uint8Array(0);

/** Lays `items` out in one new ArrayBuffer, whose ownership may be transferred. Throws RangeError outside 1..4096 items. */
export function encodeBatch(items: readonly BatchItem[]): Uint8Array {
  const request = new Uint8Array(requestBytesOf(items));
  writeBatch(items, request);
  return request;
}

/** The same for several batches, which share one ArrayBuffer. */
export function encodeBatches(batches: readonly (readonly BatchItem[])[]): Uint8Array[] {
  return shareBuffer(batches.map(requestBytesOf), (request, index) =>
    writeBatch(batches[index] as readonly BatchItem[], request),
  );
}

/** One array for each size, aligned to four bytes, in one new ArrayBuffer. */
function shareBuffer(
  sizes: readonly number[],
  fill?: (array: Uint8Array, index: number) => void,
): Uint8Array[] {
  const offsets: number[] = [];
  let end = 0;
  for (const size of sizes) {
    offsets.push(end);
    end += Math.ceil(size / wordBytes) * wordBytes;
  }
  const buffer = new ArrayBuffer(end);
  return sizes.map((size, index) => {
    const array = new Uint8Array(buffer, offsets[index], size);
    fill?.(array, index);
    return array;
  });
}

function requestBytesOf(items: readonly BatchItem[]): number {
  if (items.length < 1 || items.length > maxBatchItems) throw new RangeError('a batch has 1 to 4096 items');
  let bytes = tableBytesOf(items);
  for (const item of items) {
    bytes += item.key.length + item.message.length;
    if (item.op === batchOps.verify) bytes += item.signature.length;
  }
  return bytes;
}

function tableBytesOf({ length }: readonly BatchItem[]): number {
  return (batchHeaderWords + length * itemWords) * wordBytes;
}

function writeBatch(items: readonly BatchItem[], request: Uint8Array): void {
  const tableBytes = tableBytesOf(items);
  const words = new Uint32Array(request.buffer, request.byteOffset, tableBytes / wordBytes);
  let end = tableBytes;
  let responseEnd = resultTableBytes(items.length);
  let at = batchHeaderWords;
  for (const item of items) {
    words[at] = item.op;
    words[at + 1] = item.scheme;
    words[at + 2] = item.keyNumber;
    words[at + 3] = end;
    words[at + 4] = item.key.length;
    request.set(item.key, end);
    end += item.key.length;
    words[at + 5] = end;
    words[at + 6] = item.message.length;
    request.set(item.message, end);
    end += item.message.length;
    if (item.op === batchOps.verify) {
      words[at + 7] = end;
      words[at + 8] = item.signature.length;
      request.set(item.signature, end);
      end += item.signature.length;
    } else {
      const room = maxSignatureBytes[item.scheme];
      words[at + 7] = responseEnd;
      words[at + 8] = room;
      responseEnd += room;
    }
    at += itemWords;
  }
  words[0] = items.length;
  words[1] = responseEnd;
}

/** A response array of the size that the request asks for. */
export function responseFor(request: Uint8Array): Uint8Array {
  return new Uint8Array(readBatchHeader(request).responseBytes);
}

/** The same for several requests; the responses share one ArrayBuffer. */
export function responsesFor(requests: readonly Uint8Array[]): Uint8Array[] {
  return shareBuffer(requests.map((request) => readBatchHeader(request).responseBytes));
}

/** The results of `items` (the very array that was encoded) in order; signatures are views into `response`. */
export function readResults(items: readonly BatchItem[], response: Uint8Array): BatchResult[] {
  const words = wordsOf(response, items.length * resultWords);
  let room = resultTableBytes(items.length);
  return items.map((item, index) => {
    const at = index * resultWords;
    const place = room;
    if (item.op !== batchOps.verify) room += maxSignatureBytes[item.scheme];
    const length = words[at + 1] as number;
    return {
      status: words[at] as BatchStatus,
      signature: length === 0 ? nothing : response.subarray(place, place + length),
      elapsedNs: words[at + 2] as number,
    };
  });
}

export interface BatchHeader {
  readonly count: number;
  readonly responseBytes: number;
  /** The request's table, header included. */
  readonly words: Uint32Array;
}

/** Reads the head of a request. Throws RangeError when the array is malformed as a whole. */
export function readBatchHeader(request: Uint8Array): BatchHeader {
  const [count, responseBytes] = wordsOf(request, batchHeaderWords) as unknown as [number, number];
  if (count < 1 || count > maxBatchItems) throw new RangeError('a batch has 1 to 4096 items');
  if (responseBytes < resultTableBytes(count)) throw new RangeError('the response cannot hold the results');
  return { count, responseBytes, words: wordsOf(request, batchHeaderWords + count * itemWords) };
}

/** The status words of a response to `count` items. Throws RangeError when the array is not of `responseBytes` bytes. */
export function resultTable(response: Uint8Array, header: BatchHeader): Uint32Array {
  if (response.length < header.responseBytes) throw new RangeError('the response is too short');
  return wordsOf(response, header.count * resultWords);
}

/** Where the room for signatures begins in a response, in bytes. */
export function resultTableBytes(count: number): number {
  return count * resultWords * wordBytes;
}

/** The machine's own word order, which is little endian on every platform that Node 24 is built for here (x64, arm64). */
function wordsOf(bytes: Uint8Array, count: number): Uint32Array {
  if (bytes.byteOffset % wordBytes !== 0) throw new RangeError('the array is not aligned to four bytes');
  if (bytes.length < count * wordBytes) throw new RangeError('the array is too short');
  return new Uint32Array(bytes.buffer, bytes.byteOffset, count);
}
