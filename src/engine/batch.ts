import { type Scheme, type SigningScheme, schemes } from '../algorithms/ids.ts';
import {
  ciphertextBytes,
  maxDataKeyBytes,
  newKeyRooms,
  nonceBytesOf,
  plaintextBytes,
  readWordInput,
  unwrappedBytes,
  wrappedBytes,
} from './rooms.ts';

/**
 * The layout of a batch, read by both engines, the workers and the main thread. Every number is an unsigned 32-bit
 * little-endian word; both arrays begin on a multiple of four bytes.
 *
 * Request:  count (1..4096) | responseBytes | spans | count x (op, scheme, keyNumber, firstSpan, inputs, outputs)
 *           | spans x (offset, length) | bytes that the spans point at.
 *           The spans of an item are its key, its inputs and its outputs, in this order. Outputs have their place and room
 *           in the response; all others lie in the request.
 * Response: count x (status, elapsedNs) | a length for each output of all items, in their order | room for outputs.
 */
export const batchHeaderWords = 3;
export const itemWords = 6;
export const spanWords = 2;
export const resultWords = 2;

/** 4096 items keep the table of a request under 150 KiB and one batch under a second of Ed25519 on one core. */
const maxBatchItems = 4096;

/** Numbers of the operations. What an item of each takes and gives stands beside it. */
export const batchOps = {
  /** message[, context] -> signature. Only ML-DSA and composites take a context, of at most 255 bytes. */
  sign: 1,
  /** message, signature[, context] -> nothing; the key is the public one */
  verify: 2,
  /** ML-DSA with rnd = 0 (FIPS 204, section 3.4), for test vectors only; other schemes: like `sign`. */
  signDeterministic: 3,
  /** digest[, context] -> signature: of a message with this digest, by the scheme's hash. ECDSA, RSA, Ed25519ph, composites. */
  signDigest: 4,
  /** digest, signature[, context] -> nothing; the key is the public one */
  verifyDigest: 5,
  /** mu -> signature: ML-DSA of a message with this 64-byte representative (FIPS 204, algorithm 7, line 6). */
  signMu: 6,
  /** mu, signature -> nothing; the key is the public one */
  verifyMu: 7,
  /** message -> tag */
  mac: 8,
  /** message, tag -> nothing */
  verifyMac: 9,
  /** plaintext, aad -> nonce, ciphertext || tag; the engine draws the nonce */
  encrypt: 10,
  /** nonce, ciphertext || tag, aad -> plaintext */
  decrypt: 11,
  /** plaintext, info, aad -> wrapped; the key of a KEM is the public one. KWP: refuses an aad, and does not bind the info. */
  wrap: 12,
  /** wrapped, info, aad -> plaintext */
  unwrap: 13,
  /** size (u32 LE: 16, 32 or 64), wanted (u32 LE: 1 with the plaintext, 0 without), info, aad -> wrapped[, plaintext]; key as of wrap */
  dataKey: 14,
  /** key of the new version, as wrap takes it, wrapped, old info, new info, aad -> wrapped; the key is the old version's, as of unwrap */
  rewrap: 15,
  /** reference of the new version, nonce, ciphertext || tag, aad -> nonce, ciphertext || tag; the key is the old version's */
  reencrypt: 16,
  /** label, new key type (u32 LE), tenant, aad -> sealed blob, public key; for key types whose secret is uniform bytes */
  derive: 17,
  /** material, key type (u32 LE), tenant, aad, info -> sealed blob, public key; the key is the wrapping key's, RSA-4096 or a KEM's */
  importWrapped: 18,
  /** wrapped data key, its info, its aad, plaintext, aad -> nonce, ciphertext || tag, by the data key; an AEAD key has wrapped it */
  encryptUnder: 19,
  /** wrapped data key, its info, its aad, nonce, ciphertext || tag, aad -> plaintext */
  decryptUnder: 20,
} as const;
export type BatchOp = (typeof batchOps)[keyof typeof batchOps];

export const batchStatuses = {
  ok: 0,
  /**
   * The signature or tag is not one of this key over this message, or what was encrypted or wrapped does not open by this key with
   * this aad and info; also for wrong lengths and malformed encodings.
   */
  rejected: 1,
  /**
   * The key reference does not open (tenant, aad, root or blob), or its key type does not fit the scheme; where the public key is
   * asked for, it is none of the scheme.
   */
  keyUnusable: 2,
  /** Offsets or sizes out of range, unknown op or scheme, one that does not fit the other, too little room. */
  badInput: 3,
  internal: 4,
} as const;
export type BatchStatus = (typeof batchStatuses)[keyof typeof batchStatuses];

/** The most bytes that a signature or tag of the scheme takes, which is the room that its item has to offer. */
export const maxSignatureBytes: Readonly<Record<SigningScheme, number>> = {
  [schemes.ed25519]: 64,
  [schemes['ml-dsa-44']]: 2420,
  [schemes['ml-dsa-65']]: 3309,
  [schemes['ml-dsa-87']]: 4627,
  // SEQUENCE of two INTEGERs of at most 33 bytes.
  [schemes['ecdsa-p256-sha256']]: 72,
  // As long as the modulus; this is RSA-4096. A smaller key takes less.
  [schemes.ps256]: 512,
  [schemes.rs256]: 512,
  [schemes['ecdsa-p256-sha256-p1363']]: 64,
  // SEQUENCE of two INTEGERs of at most 49 bytes.
  [schemes['ecdsa-p384-sha384']]: 104,
  [schemes['ecdsa-p384-sha384-p1363']]: 96,
  [schemes.ps384]: 512,
  [schemes.ps512]: 512,
  [schemes.rs384]: 512,
  [schemes.rs512]: 512,
  [schemes.ed25519ph]: 64,
  [schemes['mldsa65-ed25519']]: 3309 + 64,
  [schemes['mldsa44-ed25519']]: 2420 + 64,
  [schemes['mldsa65-p256']]: 3309 + 72,
  [schemes['hmac-sha256']]: 32,
};

/** Room for each output of an item, in bytes. */
type OutputRoom = (scheme: Scheme, inputs: readonly Uint8Array[]) => readonly number[];

const noOutput: readonly number[] = [];
/** Made once for each scheme: this stands on the way of every signature. */
const signatureRoom = new Map<Scheme, readonly number[]>(
  Object.entries(maxSignatureBytes).map(([scheme, bytes]) => [Number(scheme) as Scheme, [bytes]]),
);
const oneSignature: OutputRoom = (scheme) => signatureRoom.get(scheme) ?? noOutput;

const lengthOf = (input: Uint8Array | undefined) => input?.length ?? 0;
const newKey =
  (typeAt: number): OutputRoom =>
  (_scheme, inputs) =>
    newKeyRooms(readWordInput(inputs[typeAt]) ?? 0) ?? noOutput;

const outputRooms: Readonly<Record<BatchOp, OutputRoom>> = {
  [batchOps.sign]: oneSignature,
  [batchOps.signDeterministic]: oneSignature,
  [batchOps.verify]: () => noOutput,
  [batchOps.signDigest]: oneSignature,
  [batchOps.verifyDigest]: () => noOutput,
  [batchOps.signMu]: oneSignature,
  [batchOps.verifyMu]: () => noOutput,
  [batchOps.mac]: oneSignature,
  [batchOps.verifyMac]: () => noOutput,
  [batchOps.encrypt]: (scheme, [plaintext]) => [
    nonceBytesOf[scheme] ?? 0,
    ciphertextBytes(lengthOf(plaintext)),
  ],
  [batchOps.decrypt]: (_scheme, [, ciphertext]) => [plaintextBytes(lengthOf(ciphertext))],
  [batchOps.wrap]: (scheme, [plaintext]) => [wrappedBytes(scheme, lengthOf(plaintext))],
  [batchOps.unwrap]: (scheme, [wrapped]) => [unwrappedBytes(scheme, lengthOf(wrapped))],
  [batchOps.dataKey](scheme, [size, wanted]) {
    const bytes = Math.min(readWordInput(size) ?? 0, maxDataKeyBytes);
    const wrapped = wrappedBytes(scheme, bytes);
    return readWordInput(wanted) === 1 ? [wrapped, bytes] : [wrapped];
  },
  // Versions of one key have one scheme, and what it wraps keeps its length.
  [batchOps.rewrap]: (_scheme, [, wrapped]) => [lengthOf(wrapped)],
  [batchOps.reencrypt]: (scheme, [, , ciphertext]) => [nonceBytesOf[scheme] ?? 0, lengthOf(ciphertext)],
  [batchOps.encryptUnder]: (scheme, [, , , plaintext]) => [
    nonceBytesOf[scheme] ?? 0,
    ciphertextBytes(lengthOf(plaintext)),
  ],
  [batchOps.decryptUnder]: (_scheme, [, , , , ciphertext]) => [plaintextBytes(lengthOf(ciphertext))],
  [batchOps.derive]: newKey(1),
  [batchOps.importWrapped]: newKey(1),
};

export interface BatchItem {
  readonly op: BatchOp;
  readonly scheme: Scheme;
  /** Process-unique number of the key version, never reused; 0: the opened key is not cached. */
  readonly keyNumber: number;
  /** The key reference (key-reference.ts) of a private or secret key, or the public key in its standard bytes. */
  readonly key: Uint8Array;
  readonly inputs: readonly Uint8Array[];
}

export interface BatchResult {
  readonly status: BatchStatus;
  /** Views into the response, not copies; none for every status but ok. */
  readonly outputs: readonly Uint8Array[];
  readonly elapsedNs: number;
}

/** Of a device that does one item at a time: with the time that it took. */
export async function timedResult(
  work: () => Promise<BatchStatus | readonly Uint8Array[]>,
): Promise<BatchResult> {
  const beganNs = process.hrtime.bigint();
  const outcome = await work();
  const elapsedNs = Number(process.hrtime.bigint() - beganNs);
  return typeof outcome === 'number'
    ? { status: outcome, outputs: [], elapsedNs }
    : { status: batchStatuses.ok, outputs: outcome, elapsedNs };
}

const wordBytes = 4;
const nothing: readonly Uint8Array[] = [];

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
  let spans = 0;
  let bytes = 0;
  for (const { op, scheme, key, inputs } of items) {
    spans += 1 + inputs.length + outputRooms[op](scheme, inputs).length;
    bytes += key.length;
    for (const input of inputs) bytes += input.length;
  }
  return tableBytesOf(items.length, spans) + bytes;
}

function tableBytesOf(count: number, spans: number): number {
  return (batchHeaderWords + count * itemWords + spans * spanWords) * wordBytes;
}

function writeBatch(items: readonly BatchItem[], request: Uint8Array): void {
  let spans = 0;
  let outputs = 0;
  for (const { op, scheme, inputs } of items) {
    const ownOutputs = outputRooms[op](scheme, inputs).length;
    spans += 1 + inputs.length + ownOutputs;
    outputs += ownOutputs;
  }
  const tableBytes = tableBytesOf(items.length, spans);
  const words = new Uint32Array(request.buffer, request.byteOffset, tableBytes / wordBytes);
  let end = tableBytes;
  let responseEnd = resultTableBytes(items.length, outputs);
  let at = batchHeaderWords;
  let span = 0;
  let spanAt = batchHeaderWords + items.length * itemWords;
  const place = (bytes: Uint8Array): void => {
    words[spanAt] = end;
    words[spanAt + 1] = bytes.length;
    request.set(bytes, end);
    end += bytes.length;
    spanAt += spanWords;
  };
  for (const { op, scheme, keyNumber, key, inputs } of items) {
    const rooms = outputRooms[op](scheme, inputs);
    words[at] = op;
    words[at + 1] = scheme;
    words[at + 2] = keyNumber;
    words[at + 3] = span;
    words[at + 4] = inputs.length;
    words[at + 5] = rooms.length;
    at += itemWords;
    span += 1 + inputs.length + rooms.length;
    place(key);
    for (const input of inputs) place(input);
    for (const room of rooms) {
      words[spanAt] = responseEnd;
      words[spanAt + 1] = room;
      responseEnd += room;
      spanAt += spanWords;
    }
  }
  words[0] = items.length;
  words[1] = responseEnd;
  words[2] = spans;
}

/** Throws RangeError when the array is too short to say so. */
function responseBytesOf(request: Uint8Array): number {
  return wordsOf(request, batchHeaderWords)[1] as number;
}

/** A response array of the size that the request asks for. */
export function responseFor(request: Uint8Array): Uint8Array {
  return new Uint8Array(responseBytesOf(request));
}

/** The same for several requests; the responses share one ArrayBuffer. */
export function responsesFor(requests: readonly Uint8Array[]): Uint8Array[] {
  return shareBuffer(requests.map(responseBytesOf));
}

/** The results of `items` (the very array that was encoded) in order; outputs are views into `response`. */
export function readResults(items: readonly BatchItem[], response: Uint8Array): BatchResult[] {
  let count = 0;
  for (const { op, scheme, inputs } of items) count += outputRooms[op](scheme, inputs).length;
  const words = wordsOf(response, items.length * resultWords + count);
  let room = resultTableBytes(items.length, count);
  let lengthAt = items.length * resultWords;
  return items.map(({ op, scheme, inputs }, index) => {
    const at = index * resultWords;
    const status = words[at] as BatchStatus;
    const rooms = outputRooms[op](scheme, inputs);
    let outputs = nothing;
    if (rooms.length > 0) {
      if (status === batchStatuses.ok) outputs = viewsOf(response, room, rooms, words, lengthAt);
      for (const bytes of rooms) room += bytes;
      lengthAt += rooms.length;
    }
    return { status, outputs, elapsedNs: words[at + 1] as number };
  });
}

function viewsOf(
  response: Uint8Array,
  start: number,
  rooms: readonly number[],
  words: Uint32Array,
  lengthAt: number,
): Uint8Array[] {
  let place = start;
  return rooms.map((room, index) => {
    const view = response.subarray(place, place + (words[lengthAt + index] as number));
    place += room;
    return view;
  });
}

export interface BatchHeader {
  readonly count: number;
  readonly responseBytes: number;
  readonly spans: number;
  /** Outputs of all items. */
  readonly outputs: number;
  /** The request's tables, header included. */
  readonly words: Uint32Array;
}

/** Reads the head of a request. Throws RangeError when the array is malformed as a whole. */
export function readBatchHeader(request: Uint8Array): BatchHeader {
  const [count, responseBytes, spans] = wordsOf(request, batchHeaderWords) as unknown as [
    number,
    number,
    number,
  ];
  if (count < 1 || count > maxBatchItems) throw new RangeError('a batch has 1 to 4096 items');
  const tableWords = batchHeaderWords + count * itemWords + spans * spanWords;
  if (request.length < tableWords * wordBytes) throw new RangeError('the array is too short');
  const words = wordsOf(request, tableWords);
  let outputs = 0;
  for (let item = 0; item < count; item++) {
    const at = batchHeaderWords + item * itemWords;
    const ownSpans = 1 + (words[at + 4] as number) + (words[at + 5] as number);
    if ((words[at + 3] as number) + ownSpans > spans)
      throw new RangeError('an item has spans that are not there');
    outputs += words[at + 5] as number;
  }
  if (responseBytes < resultTableBytes(count, outputs))
    throw new RangeError('the response cannot hold the results');
  return { count, responseBytes, spans, outputs, words };
}

/** The status and length words of a response. Throws RangeError when the array is not of `responseBytes` bytes. */
export function resultTable(response: Uint8Array, header: BatchHeader): Uint32Array {
  if (response.length < header.responseBytes) throw new RangeError('the response is too short');
  return wordsOf(response, header.count * resultWords + header.outputs);
}

/** The beginning of the room for outputs in a response, in bytes. */
export function resultTableBytes(count: number, outputs: number): number {
  return (count * resultWords + outputs) * wordBytes;
}

/** The machine's own word order, which is little endian on every platform that Node 24 is built for here (x64, arm64). */
function wordsOf(bytes: Uint8Array, count: number): Uint32Array {
  if (bytes.byteOffset % wordBytes !== 0) throw new RangeError('the array is not aligned to four bytes');
  if (bytes.length < count * wordBytes) throw new RangeError('the array is too short');
  return new Uint32Array(bytes.buffer, bytes.byteOffset, count);
}
