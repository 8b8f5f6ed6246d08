import { createHash, timingSafeEqual } from 'node:crypto';
import type { KeyPart } from './record.ts';

/** HMAC-SHA-256 under a key that only this service can derive; 32 bytes. */
export interface RecordMac {
  (message: Uint8Array): Uint8Array;
  /** Under the key of the root key before this one, while records go over from that one: what it made is authentic, too. */
  readonly before?: ((message: Uint8Array) => Uint8Array) | undefined;
}

/** The name of the key, derived from the root key, that authenticates records. */
export const recordMacPurpose = 'key-record';

/**
 * An authenticated value: u8 2 | tag[32] | u32le length of the text | text | rest, where tag = HMAC-SHA-256(store key | u8 0 |
 * text). The store key of a version has its kid and number, the text its state, revision and public keys; the rest has the
 * sealed private parts, which authenticate themselves: one that is damaged leaves the public keys in use. Values of the
 * format before begin with `{`.
 *
 * The tag stands for the whole text and has one length, so that a digest over the tags of all records, in the order of
 * their store keys, can one day say which records there are.
 */
const format = 2;
const tagAt = 1;
const lengthAt = 33;
const textAt = 37;

export interface AuthenticText {
  readonly text: Uint8Array;
  /** Nothing vouches for it here. */
  readonly rest: Uint8Array;
}

export function authenticated(storeKey: string, text: string, mac: RecordMac, rest = ''): Uint8Array {
  const bytes = Buffer.from(text);
  const value = Buffer.allocUnsafe(textAt + bytes.length + Buffer.byteLength(rest));
  value[0] = format;
  value.set(mac(covered(storeKey, bytes)), tagAt);
  value.writeUInt32LE(bytes.length, lengthAt);
  value.set(bytes, textAt);
  value.write(rest, textAt + bytes.length);
  return value;
}

/** Undefined where the text was not written under this store key with this MAC. */
export function openAuthenticated(
  storeKey: string,
  value: Uint8Array,
  mac: RecordMac,
): AuthenticText | undefined {
  if (value[0] !== format || value.length < textAt) return undefined;
  const restAt = textAt + Buffer.from(value.buffer, value.byteOffset).readUInt32LE(lengthAt);
  if (restAt > value.length) return undefined;
  const text = value.subarray(textAt, restAt);
  const message = covered(storeKey, text);
  const tag = value.subarray(tagAt, lengthAt);
  const authentic =
    timingSafeEqual(mac(message), tag) ||
    (mac.before !== undefined && timingSafeEqual(mac.before(message), tag));
  return authentic ? { text, rest: value.subarray(restAt) } : undefined;
}

function covered(storeKey: string, text: Uint8Array): Uint8Array {
  // A store key is printable ASCII, so the zero byte ends it.
  const message = Buffer.allocUnsafe(storeKey.length + 1 + text.length);
  message.write(storeKey, 'latin1');
  message[storeKey.length] = 0;
  message.set(text, storeKey.length + 1);
  return message;
}

/** SHA-256, in hex, of a version's public keys one after another: of the public key where there is one. */
export function publicKeySha256(parts: readonly Pick<KeyPart, 'publicKey'>[]): string {
  const digest = createHash('sha256');
  for (const { publicKey } of parts) digest.update(publicKey);
  return digest.digest('hex');
}
