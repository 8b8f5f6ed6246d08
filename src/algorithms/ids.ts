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
  'rsa-2048': 16,
  'rsa-3072': 17,
  'rsa-4096': 18,
  'hmac-sha256': 32,
} as const;
export type KeyTypeName = keyof typeof keyTypes;
export type KeyType = (typeof keyTypes)[KeyTypeName];

/** Numbers of the schemes that a batch item names: ways to use a key. */
export const schemes = {
  /** RFC 8032, pure. */
  ed25519: 1,
  /** FIPS 204, pure, empty context, hedged. */
  'ml-dsa-44': 2,
  'ml-dsa-65': 3,
  'ml-dsa-87': 4,
  /** FIPS 186-5 with SHA-256; the signature is DER (RFC 3279). */
  'ecdsa-p256-sha256': 5,
  /** RFC 8017 RSASSA-PSS, SHA-256, MGF1 with SHA-256, 32 bytes of salt: JWA PS256. */
  ps256: 6,
  /** RFC 8017 RSASSA-PKCS1-v1_5, SHA-256: JWA RS256. */
  rs256: 7,
  /** RFC 2104 with SHA-256, a tag of 32 bytes. */
  'hmac-sha256': 32,
} as const;
export type SchemeName = keyof typeof schemes;
export type Scheme = (typeof schemes)[SchemeName];
