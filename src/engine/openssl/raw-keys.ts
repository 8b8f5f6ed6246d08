import { createPublicKey, type KeyObject } from 'node:crypto';

/** A public key of its standard bytes; undefined when they are none of this type. */
export function parseRaw(
  bytes: Uint8Array,
  asymmetricKeyType:
    | 'ed25519'
    | 'ml-dsa-44'
    | 'ml-dsa-65'
    | 'ml-dsa-87'
    | 'ec'
    | 'x25519'
    | 'ml-kem-768'
    | 'ml-kem-1024',
  length: number,
  curve?: { namedCurve: string },
): KeyObject | undefined {
  if (bytes.length !== length) return undefined;
  try {
    return createPublicKey({ key: asBuffer(bytes), format: 'raw-public', asymmetricKeyType, ...curve });
  } catch {
    return undefined;
  }
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
