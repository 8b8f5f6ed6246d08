/**
 * The crypto engine: the only part that touches private keys. Two implementations have the same bytes at every
 * border (sealed blobs, public keys, batches), so a data directory moves between them.
 */

/** Numbers of the key types that an engine generates; part of the sealed format, never reused. */
export const keyTypes = {
  ed25519: 1,
  'ml-dsa-44': 2,
  'ml-dsa-65': 3,
  'ml-dsa-87': 4,
  'ecdsa-p256': 5,
  'rsa-2048': 16,
  'rsa-3072': 17,
  'rsa-4096': 18,
} as const;
export type KeyTypeName = keyof typeof keyTypes;
export type KeyType = (typeof keyTypes)[KeyTypeName];

/** Numbers of the signature schemes that a batch item names. */
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
} as const;
export type SchemeName = keyof typeof schemes;
export type Scheme = (typeof schemes)[SchemeName];

/** Where the root key comes from. `file-create` makes the file (0600) and fails if it exists. */
export type RootSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'file-create'; readonly path: string }
  | { readonly kind: 'memory' };

/** A root key as this engine names it: a number, or a KeyObject. Plain data that may cross to a worker thread. */
export type RootRef = unknown;

/** A new key: the private part sealed under the tenant's key, the public part in its standard bytes. */
export interface GeneratedKey {
  /** The blob of the sealed format, version 1. */
  readonly sealed: Uint8Array;
  /** ed25519: 32 bytes (RFC 8032); ml-dsa: FIPS 204 bytes; ecdsa-p256: SEC1 uncompressed, 65; rsa: SPKI DER. */
  readonly publicKey: Uint8Array;
}

export interface EngineDescription {
  readonly name: 'native' | 'openssl';
  /** Libraries and their versions, for /version and the log. */
  readonly libraries: Readonly<Record<string, string>>;
}

export interface EngineStats {
  /** Whether pages with private keys are locked into memory. */
  readonly memoryLocked: boolean;
  readonly cachedKeys: number;
}

export interface EngineOptions {
  /** Requests to the random generator between two reseeds from the operating system. */
  readonly reseedIntervalOps: number;
  /** Bound of the memory that holds opened private keys, in bytes; least recently used keys are wiped first. */
  readonly keyCacheBytes: number;
}

/** Thrown by the control-plane calls of an engine. The message carries no secret. */
export type EngineErrorCode =
  | 'ROOT_PERMISSIONS'
  | 'ROOT_LENGTH'
  | 'ROOT_MISSING'
  | 'ROOT_EXISTS'
  | 'BAD_ARGUMENT'
  | 'SEAL_FAILED'
  | 'IO';

export interface Engine {
  readonly description: EngineDescription;

  /** Opens or makes a root key. Throws an Error with an `EngineErrorCode` as its `code`. */
  openRoot(source: RootSource): RootRef;

  /** Makes a key and seals it for `tenant`, bound to `aad`. Blocking (RSA-4096: a second or more): call it in a worker. */
  generate(root: RootRef, keyType: KeyType, tenant: string, aad: string): GeneratedKey;

  /** Seals given key material, and wipes `secret`. For test vectors. */
  importKey(root: RootRef, keyType: KeyType, tenant: string, aad: string, secret: Uint8Array): GeneratedKey;

  /**
   * Signs and verifies a whole batch, blocking; see dispatch/batch.ts for the layout of both arrays. Each item has its
   * own status, one bad item never affects another. Throws only if an array is malformed as a whole.
   */
  run(root: RootRef, request: Uint8Array, response: Uint8Array): void;

  /** Wipes the opened key of this number from this thread's view: with `native` from the process. */
  forget(keyNumber: number): void;

  stats(): EngineStats;

  /** Wipes every opened key and root. */
  wipe(): void;
}
