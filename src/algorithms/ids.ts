/**
 * Numbers of the key types that an engine generates; part of the sealed format, never reused. From 32 on: secret keys,
 * which have no public part.
 */
export const keyTypes = {
  ed25519: 1,
  'ml-dsa-44': 2,
  'ml-dsa-65': 3,
  'ml-dsa-87': 4,
  'ecdsa-p256': 5,
  'ecdsa-p384': 6,
  'mldsa65-ed25519': 8,
  'mldsa44-ed25519': 9,
  'mldsa65-p256': 10,
  'rsa-2048': 16,
  'rsa-3072': 17,
  'rsa-4096': 18,
  x25519: 24,
  'ml-kem-768': 25,
  'ml-kem-1024': 26,
  /** X-Wing, draft-connolly-cfrg-xwing-kem. */
  'x25519+ml-kem-768': 27,
  'hmac-sha256': 32,
  'aes-256-gcm': 33,
  'chacha20-poly1305': 34,
  'xaes-256-gcm': 35,
  'aes-256-kwp': 36,
  'hkdf-sha256': 37,
} as const;
/** Types whose secret has a structure; that of all others is 32 or 64 uniform bytes, which can be derived. */
const structured: ReadonlySet<number> = new Set([
  ...[keyTypes['ecdsa-p256'], keyTypes['ecdsa-p384'], keyTypes['mldsa65-p256']],
  ...[keyTypes['mldsa65-ed25519'], keyTypes['mldsa44-ed25519']],
  ...[keyTypes['rsa-2048'], keyTypes['rsa-3072'], keyTypes['rsa-4096']],
]);

export function hasUniformSecret(keyType: KeyType): boolean {
  return !structured.has(keyType);
}

export type KeyTypeName = keyof typeof keyTypes;
export type KeyType = (typeof keyTypes)[KeyTypeName];

/** Numbers of the schemes that a batch item names: ways to use a key. */
export const schemes = {
  /** RFC 8032, pure. */
  ed25519: 1,
  /** FIPS 204, pure, hedged. */
  'ml-dsa-44': 2,
  'ml-dsa-65': 3,
  'ml-dsa-87': 4,
  /** FIPS 186-5 with SHA-256; the signature is DER (RFC 3279). */
  'ecdsa-p256-sha256': 5,
  /** RFC 8017 RSASSA-PSS, SHA-256, MGF1 with SHA-256, 32 bytes of salt: JWA PS256. */
  ps256: 6,
  /** RFC 8017 RSASSA-PKCS1-v1_5, SHA-256: JWA RS256. */
  rs256: 7,
  /** As 5, but the signature is r || s, 32 bytes each (IEEE P1363): JWA ES256. */
  'ecdsa-p256-sha256-p1363': 8,
  /** FIPS 186-5 with SHA-384; the signature is DER (RFC 3279). */
  'ecdsa-p384-sha384': 9,
  /** As 9, but the signature is r || s, 48 bytes each (IEEE P1363): JWA ES384. */
  'ecdsa-p384-sha384-p1363': 10,
  /** RFC 8017 RSASSA-PSS; hash, MGF1's hash and the salt's length are SHA-384's and SHA-512's. */
  ps384: 11,
  ps512: 12,
  /** RFC 8017 RSASSA-PKCS1-v1_5. */
  rs384: 13,
  rs512: 14,
  /** RFC 8032 HashEdDSA, empty context: of the message's SHA-512. */
  ed25519ph: 15,
  /** Composite ML-DSA (draft-ietf-lamps-pq-composite-sigs), SHA-512: MLDSA65-Ed25519, MLDSA44-Ed25519, MLDSA65-ECDSA-P256. */
  'mldsa65-ed25519': 16,
  'mldsa44-ed25519': 17,
  'mldsa65-p256': 18,
  /** HPKE base mode (RFC 9180) with KEM 0x0020, HKDF-SHA256 and AES-256-GCM: enc || ciphertext || tag. */
  x25519: 24,
  /** The same with KEM 0x0041, 0x0042 and 0x647A (draft-ietf-hpke-pq-05). */
  'ml-kem-768': 25,
  'ml-kem-1024': 26,
  'x25519+ml-kem-768': 27,
  /** RFC 2104 with SHA-256, a tag of 32 bytes. */
  'hmac-sha256': 32,
  /** SP 800-38D, a nonce of 12 bytes and a tag of 16. */
  'aes-256-gcm': 33,
  /** RFC 8439, a nonce of 12 bytes and a tag of 16. */
  'chacha20-poly1305': 34,
  /** C2SP XAES-256-GCM, a nonce of 24 bytes and a tag of 16. */
  'xaes-256-gcm': 35,
  /** RFC 5649, deterministic, without associated data. */
  'aes-256-kwp': 36,
  /** RFC 5869 with an empty salt. */
  'hkdf-sha256': 37,
  /** RSAES-OAEP with SHA-256 around an AES-256 key, and RFC 5649 by that key: CKM_RSA_AES_KEY_WRAP of PKCS#11. */
  'rsa-oaep-sha256-kwp': 40,
} as const;
/** The schemes that open key material which is brought, by the type of the key that it was wrapped with. */
export const importSchemes: ReadonlyMap<KeyType, Scheme> = new Map<KeyType, Scheme>([
  [keyTypes['x25519+ml-kem-768'], schemes['x25519+ml-kem-768']],
  [keyTypes['rsa-4096'], schemes['rsa-oaep-sha256-kwp']],
]);

export type SchemeName = keyof typeof schemes;
export type Scheme = (typeof schemes)[SchemeName];

/** Hashes by which callers may have made a digest themselves, and the bytes of it. */
export const digestBytes = { sha256: 32, sha384: 48, sha512: 64 } as const;
export type HashName = keyof typeof digestBytes;

/**
 * What not every engine or token can do: sign and verify an external mu (ML-DSA), a digest that came without its message (ECDSA
 * and RSA), by Ed25519ph, and under a context that is not empty.
 */
export type Ability = 'mu' | 'digest' | 'ed25519ph' | 'context';

/** Schemes that encrypt, wrap or derive; all others make signatures and tags. */
export type SealingSchemeName =
  | 'x25519'
  | 'ml-kem-768'
  | 'ml-kem-1024'
  | 'x25519+ml-kem-768'
  | 'aes-256-gcm'
  | 'chacha20-poly1305'
  | 'xaes-256-gcm'
  | 'aes-256-kwp'
  | 'hkdf-sha256'
  | 'rsa-oaep-sha256-kwp';
export type SealingScheme = (typeof schemes)[SealingSchemeName];
/** Schemes that make signatures and tags. */
export type SigningScheme = Exclude<Scheme, SealingScheme>;
