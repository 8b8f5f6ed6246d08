import { type KeyType, keyTypes, type Scheme, type SealingScheme, schemes } from '../algorithms/ids.ts';

/**
 * Lengths of what the ops that encrypt, wrap and derive give, in bytes. They follow from the inputs, so that the sender of a batch
 * and both engines know them without asking each other.
 */

/** Of what one item encrypts or wraps: a request of a few thousand of them stays under the body limits. */
export const maxPlaintextBytes = 65_536;

/** Sizes of a new data key. */
export const dataKeyBytes: readonly number[] = [16, 32, 64];
export const maxDataKeyBytes = 64;

const tagBytes = 16;

/** Of the nonce that the engine draws. */
export const nonceBytesOf: Readonly<Partial<Record<Scheme, number>>> = {
  [schemes['aes-256-gcm']]: 12,
  [schemes['chacha20-poly1305']]: 12,
  [schemes['xaes-256-gcm']]: 24,
};

/** Of the encapsulated key, `enc` of RFC 9180. */
export const encapsulatedBytesOf: Readonly<Partial<Record<Scheme, number>>> = {
  [schemes.x25519]: 32,
  [schemes['ml-kem-768']]: 1088,
  [schemes['ml-kem-1024']]: 1568,
  [schemes['x25519+ml-kem-768']]: 1120,
};

const kwpBlockBytes = 8;

/** Of what a wrap of so many bytes gives: nonce or enc, ciphertext and tag; of KWP the padded plaintext and one block. */
export function wrappedBytes(scheme: Scheme, plaintextBytes: number): number {
  if (scheme === schemes['aes-256-kwp'])
    return Math.ceil(plaintextBytes / kwpBlockBytes) * kwpBlockBytes + kwpBlockBytes;
  return wrapHeaderBytes(scheme) + plaintextBytes + tagBytes;
}

/** The most that an unwrap may give; of KWP it is exact only after opening. */
export function unwrappedBytes(scheme: Scheme, wrapped: number): number {
  const overhead = scheme === schemes['aes-256-kwp'] ? kwpBlockBytes : wrapHeaderBytes(scheme) + tagBytes;
  return Math.max(0, wrapped - overhead);
}

function wrapHeaderBytes(scheme: Scheme): number {
  return nonceBytesOf[scheme] ?? encapsulatedBytesOf[scheme] ?? 0;
}

/** Ciphertexts of `encrypt` end with the tag. */
export function ciphertextBytes(plaintextBytes: number): number {
  return plaintextBytes + tagBytes;
}

export function plaintextBytes(ciphertext: number): number {
  return Math.max(0, ciphertext - tagBytes);
}

/** The most bytes that a secret of the type has in its sealed blob, and its public bytes. */
interface KeyBytes {
  readonly secretBytes: number;
  readonly publicBytes: number;
}

const secretKey: KeyBytes = { secretBytes: 32, publicBytes: 0 };
/** PKCS#8 of RSA-4096 has at most 2,380 bytes, its SPKI 550. */
const der: KeyBytes = { secretBytes: 2560, publicBytes: 600 };

const keyRooms: Readonly<Record<KeyType, KeyBytes>> = {
  [keyTypes.ed25519]: { secretBytes: 32, publicBytes: 32 },
  [keyTypes['ml-dsa-44']]: { secretBytes: 32, publicBytes: 1312 },
  [keyTypes['ml-dsa-65']]: { secretBytes: 32, publicBytes: 1952 },
  [keyTypes['ml-dsa-87']]: { secretBytes: 32, publicBytes: 2592 },
  [keyTypes['ecdsa-p256']]: der,
  [keyTypes['ecdsa-p384']]: der,
  [keyTypes['mldsa65-ed25519']]: { secretBytes: 64, publicBytes: 1952 + 32 },
  [keyTypes['mldsa44-ed25519']]: { secretBytes: 64, publicBytes: 1312 + 32 },
  // A seed, and an ECPrivateKey (RFC 5915) of at most 121 bytes.
  [keyTypes['mldsa65-p256']]: { secretBytes: 32 + 121, publicBytes: 1952 + 65 },
  [keyTypes['rsa-2048']]: der,
  [keyTypes['rsa-3072']]: der,
  [keyTypes['rsa-4096']]: der,
  [keyTypes.x25519]: { secretBytes: 32, publicBytes: 32 },
  [keyTypes['ml-kem-768']]: { secretBytes: 64, publicBytes: 1184 },
  [keyTypes['ml-kem-1024']]: { secretBytes: 64, publicBytes: 1568 },
  [keyTypes['x25519+ml-kem-768']]: { secretBytes: 32, publicBytes: 1216 },
  [keyTypes['hmac-sha256']]: secretKey,
  [keyTypes['aes-256-gcm']]: secretKey,
  [keyTypes['chacha20-poly1305']]: secretKey,
  [keyTypes['xaes-256-gcm']]: secretKey,
  [keyTypes['aes-256-kwp']]: secretKey,
  [keyTypes['hkdf-sha256']]: secretKey,
};

/** Header of 4, nonce of 12 and tag of 16: see the sealed format. */
const sealedOverheadBytes = 32;

/** Room for a new key that is sealed: its blob, then its public bytes. Undefined: no such key type. */
export function newKeyRooms(keyType: number): readonly [sealed: number, publicKey: number] | undefined {
  if (!Object.hasOwn(keyRooms, keyType)) return undefined;
  const { secretBytes, publicBytes } = keyRooms[keyType as KeyType];
  return [sealedOverheadBytes + secretBytes, publicBytes];
}

/** An input that is a number. */
export function wordInput(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Undefined where the input has another length. */
export function readWordInput(input: Uint8Array | undefined): number | undefined {
  if (input?.length !== 4) return undefined;
  return new DataView(input.buffer, input.byteOffset, 4).getUint32(0, true);
}

const sealingSchemes: ReadonlySet<Scheme> = new Set<SealingScheme>([
  schemes.x25519,
  schemes['ml-kem-768'],
  schemes['ml-kem-1024'],
  schemes['x25519+ml-kem-768'],
  schemes['aes-256-gcm'],
  schemes['chacha20-poly1305'],
  schemes['xaes-256-gcm'],
  schemes['aes-256-kwp'],
  schemes['hkdf-sha256'],
  schemes['rsa-oaep-sha256-kwp'],
]);

export function isSealingScheme(scheme: Scheme): scheme is SealingScheme {
  return sealingSchemes.has(scheme);
}
