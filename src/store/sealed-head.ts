import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { type MacKey, macBytes } from '../core/mac-key.ts';
import { MultisetHash } from './multiset-hash.ts';

/**
 * The head over all records of a store, which is written with every commit:
 *
 *   'ISH1' | u64 revision | u64 records | hash[32] | nonce[32] | HMAC-SHA-256 of what precedes
 *
 * `hash` is the multiset hash of the records, each of which counts as `store key | 0 | SHA-256(u64 revision | value)`. Numbers
 * are big endian. Both keys are HKDF-Expand (RFC 5869) of one that the root key gives.
 */
const magic = Buffer.from('ISH1');
const nonceBytes = 32;
const macAt = 84;
const headBytes = macAt + macBytes;

export interface HeadKeys {
  readonly multiset: MacKey;
  readonly seal: MacKey;
}

export function headKeysOf(key: MacKey): HeadKeys {
  return { multiset: key.expand('store-head/multiset/v1'), seal: key.expand('store-head/seal/v1') };
}

/** What one record counts as in the head, and what the index of records remembers of it. */
export interface Element {
  readonly bytes: Buffer;
  readonly digest: Buffer;
}

const digestBytes = 32;

/** `stored`: its revision and its value, as they lie there. */
export function elementOf(storeKey: Uint8Array, stored: Uint8Array): Element {
  const bytes = Buffer.allocUnsafe(storeKey.length + 1 + digestBytes);
  bytes.set(storeKey);
  bytes[storeKey.length] = 0;
  bytes.write(hash('sha256', stored, 'binary'), storeKey.length + 1, 'latin1');
  return { bytes, digest: bytes.subarray(storeKey.length + 1) };
}

export interface SealedHead {
  /** Of the store's last commit. */
  readonly revision: number;
  readonly records: MultisetHash;
}

export function sealHead({ seal }: HeadKeys, { revision, records }: SealedHead): Buffer {
  const head = Buffer.allocUnsafe(headBytes);
  const nonce = randomBytes(nonceBytes);
  magic.copy(head);
  head.writeBigUInt64BE(BigInt(revision), 4);
  head.writeBigUInt64BE(BigInt(records.count), 12);
  records.hash(nonce).copy(head, 20);
  nonce.copy(head, 52);
  seal.mac(head.subarray(0, macAt)).copy(head, macAt);
  return head;
}

/** Undefined where it was not sealed under these keys. */
export function openHead({ seal, multiset }: HeadKeys, head: Uint8Array): SealedHead | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.length);
  if (bytes.length !== headBytes || !bytes.subarray(0, 4).equals(magic)) return undefined;
  if (!timingSafeEqual(seal.mac(bytes.subarray(0, macAt)), bytes.subarray(macAt))) return undefined;
  const count = Number(bytes.readBigUInt64BE(12));
  return {
    revision: Number(bytes.readBigUInt64BE(4)),
    records: MultisetHash.of(multiset, bytes.subarray(20, 52), count, bytes.subarray(52, macAt)),
  };
}

/** The same records, whatever nonces the heads were sealed with. */
export function isOfSameRecords(one: MultisetHash, other: MultisetHash): boolean {
  const nonce = Buffer.alloc(nonceBytes);
  return one.count === other.count && timingSafeEqual(one.hash(nonce), other.hash(nonce));
}
