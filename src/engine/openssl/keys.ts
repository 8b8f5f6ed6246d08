import type { KeyObject } from 'node:crypto';
import type { KeyType } from '../engine.ts';

/** Both parts of a key, either private or public. */
export class CompositeKey {
  readonly mlDsa: KeyObject;
  readonly traditional: KeyObject;

  constructor(mlDsa: KeyObject, traditional: KeyObject) {
    this.mlDsa = mlDsa;
    this.traditional = traditional;
  }
}

export type EngineKey = KeyObject | CompositeKey;

/** A key that is one; the key types of schemes keep composites apart. */
export function single(key: EngineKey): KeyObject {
  if (key instanceof CompositeKey) throw new TypeError('a composite key where one key is expected');
  return key;
}

export function both(key: EngineKey): CompositeKey {
  if (key instanceof CompositeKey) return key;
  throw new TypeError('one key where a composite key is expected');
}

/**
 * Key types as node:crypto sees them. The secret of a type is what a sealed blob holds: the 32-byte seed of Ed25519
 * (RFC 8032) and ML-DSA (xi of FIPS 204), PKCS#8 DER (RFC 5208) of ECDSA and RSA, both parts of a composite key, d || z of
 * ML-KEM (FIPS 203), the 32 bytes of X25519 (RFC 7748), of X-Wing and of secret keys.
 */
export interface OpensslKeyType {
  generate(): EngineKey;
  exportSecret(key: EngineKey): Buffer;
  /** Throws when the bytes are no secret of this type. */
  importSecret(secret: Buffer): EngineKey;
  /** The public bytes of a private key; none of a secret one. */
  exportPublic(key: EngineKey): Buffer;
  /** The length of a secret that is uniform bytes. */
  readonly uniformBytes?: number;
}

/** What is signed, as the words of a batch say it, lengths already checked. */
export interface SignedBytes {
  readonly form: 'message' | 'digest';
  readonly bytes: Uint8Array;
  /** Empty where there is none. */
  readonly context: Uint8Array;
}

/**
 * One entry a scheme: which key types it takes, and how node:crypto does it.
 * The one-shot crypto.sign and crypto.verify are used: createSign cannot do Ed25519 or ML-DSA, and is no faster for
 * ECDSA and RSA (measured on Node 24.21: 18 and 230 us either way). They hash what they are given, also for ECDSA and RSA
 * without a digest's name, and take no mu: a `mu` option is ignored, and its bytes signed as a message.
 */
export interface SignatureScheme {
  readonly kind: 'signature';
  readonly keyTypes: readonly KeyType[];
  /** The length of a digest that may come instead of a message; undefined: it takes none here. */
  readonly digestBytes?: number;
  /** It takes a context of at most 255 bytes. */
  readonly takesContext?: true;
  /** node:crypto does not have it. */
  readonly unavailable?: true;
  sign(input: SignedBytes, key: EngineKey): Uint8Array;
  /** Undefined when the bytes are no public key of this scheme. */
  parsePublic(bytes: Uint8Array): EngineKey | undefined;
  verify(input: SignedBytes, publicKey: EngineKey, publicBytes: Uint8Array, signature: Uint8Array): boolean;
}

export const noContext = new Uint8Array(0);
