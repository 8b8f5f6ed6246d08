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
 * True if the halves of an RSA or ECDSA key belong together. OpenSSL takes PKCS#8 as it is, and its own check of keys is not to be
 * had here; AWS-LC checks when it reads.
 */
export function isSound(key: EngineKey): boolean {
  if (!(key instanceof KeyObject) || !['rsa', 'ec'].includes(key.asymmetricKeyType ?? '')) return true;
  const probe = Buffer.alloc(32);
  try {
    return verify('sha256', probe, createPublicKey(key), sign('sha256', probe, key));
  } catch {
    return false;
  }
}
