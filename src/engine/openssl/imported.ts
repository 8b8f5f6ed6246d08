import { createPublicKey, KeyObject, sign, verify } from 'node:crypto';
import { type KeyType, keyTypes } from '../engine.ts';
import type { EngineKey } from './keys.ts';
import { uniformBytesOf } from './private-keys.ts';

/** PKCS#8 (RFC 5958) before the secret, by RFC 8410, RFC 9881 and RFC 9935: version 0, the seed alone, no attributes. */
const prefixes: ReadonlyMap<KeyType, Buffer> = new Map(
  (
    [
      ['ed25519', '302e020100300506032b657004220420'],
      ['x25519', '302e020100300506032b656e04220420'],
      ['ml-dsa-44', '3034020100300b060960864801650304031104228020'],
      ['ml-dsa-65', '3034020100300b060960864801650304031204228020'],
      ['ml-dsa-87', '3034020100300b060960864801650304031304228020'],
      ['ml-kem-768', '3054020100300b060960864801650304040204428040'],
      ['ml-kem-1024', '3054020100300b060960864801650304040304428040'],
    ] as const
  ).map(([name, hex]) => [keyTypes[name], Buffer.from(hex, 'hex')]),
);

/** The secret in material that was brought, as sealed blobs have it: a view into `material`. */
export function secretIn(keyType: KeyType, material: Buffer): Buffer {
  const prefix = prefixes.get(keyType);
  const bytes = uniformBytesOf(keyType);
  if (prefix === undefined || material.length !== prefix.length + (bytes ?? 0)) return material;
  return material.subarray(0, prefix.length).equals(prefix) ? material.subarray(prefix.length) : material;
}

/**
 * True if the halves of an RSA or ECDSA key belong together, and nothing follows it. OpenSSL takes PKCS#8 as it is, and its own check
 * of keys is not to be had here. Of an RSA key a number that OpenSSL can do without may be wrong all the same: it signs with the
 * others, and encodes what it has. AWS-LC checks all of them when it reads.
 */
export function isSound(key: EngineKey, material: Buffer): boolean {
  if (!(key instanceof KeyObject) || !['rsa', 'ec'].includes(key.asymmetricKeyType ?? '')) return true;
  if (!isOneSequence(material)) return false;
  const probe = Buffer.alloc(32);
  try {
    return verify('sha256', probe, createPublicKey(key), sign('sha256', probe, key));
  } catch {
    return false;
  }
}

/** DER (X.690 8.1): a SEQUENCE that is as long as its length says. No key here has 64 KiB. */
function isOneSequence(bytes: Buffer): boolean {
  if (bytes.length < 4 || bytes[0] !== 0x30) return false;
  const [, first = 0, second = 0, third = 0] = bytes;
  const [header, length] =
    first < 0x80
      ? [2, first]
      : first === 0x81
        ? [3, second]
        : first === 0x82
          ? [4, (second << 8) | third]
          : [0, 0];
  return bytes.length === header + length;
}
