/**
 * The crypto engine: the only part that touches private keys. Two implementations have the same bytes at every
 * border (sealed blobs, public keys, batches), so a data directory moves between them.
 */

import type { Ability, KeyType } from '../algorithms/ids.ts';
import type { MacKey, MacKeyRef } from '../core/mac-key.ts';

export {
  type KeyType,
  type KeyTypeName,
  keyTypes,
  type Scheme,
  type SchemeName,
  type SealingScheme,
  type SealingSchemeName,
  type SigningScheme,
  schemes,
} from '../algorithms/ids.ts';

/**
 * The way in which the engine gets the 32 bytes of a root key. `file-create` makes the file (0600) and fails if it exists. The
 * descriptor, from 3 on, is of a file or pipe that gives them and ends; it is closed in any case. `fill` is called once with 32
 * zero bytes of the engine's memory, writes the key into them, and keeps no copy; the page is empty afterwards.
 */
export type RootSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'file-create'; readonly path: string }
  | { readonly kind: 'descriptor'; readonly descriptor: number }
  | { readonly kind: 'lent-page'; readonly fill: (page: Uint8Array) => void }
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
  /**
   * The random generators by their names, each with the requests after which it takes fresh randomness from the operating
   * system at the latest.
   */
  readonly reseeds: Readonly<Record<string, number>>;
  /** What callers ask for in vain; for /version too. */
  readonly lacks: readonly Ability[];
}

export interface EngineStats {
  /** True if pages with private keys are locked into memory. */
  readonly memoryLocked: boolean;
  readonly cachedKeys: number;
}

export interface EngineOptions {
  /** Requests to the native engine's own generator between two reseeds from the operating system. Others have their own. */
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

  /** Opens or makes a root key. Throws an Error with an `EngineErrorCode` as its `code`, or what `fill` throws. */
  openRoot(source: RootSource): RootRef;

  /** Seals under `current`, and opens what either has sealed: while everything is sealed anew. Both refs stay what they are. */
  joinRoots(current: RootRef, before: RootRef): RootRef;

  /** This ref opens nothing any more: with `native` in the whole process, with `openssl` once whoever holds it lets go of it. */
  closeRoot(root: RootRef): void;

  /**
   * What is sealed under `from`, sealed under `to` for the same tenant and aad; undefined where it does not open. Throws where it
   * could not be tried. The secret does not leave the engine.
   */
  reseal(from: RootRef, to: RootRef, tenant: string, aad: string, sealed: Uint8Array): Uint8Array | undefined;

  /** Makes a key and seals it for `tenant`, bound to `aad`. Blocking (RSA-4096: a second or more): call it in a worker. */
  generate(root: RootRef, keyType: KeyType, tenant: string, aad: string): GeneratedKey;

  /** Seals given key material, and wipes `secret`. For test vectors. */
  importKey(root: RootRef, keyType: KeyType, tenant: string, aad: string, secret: Uint8Array): GeneratedKey;

  /**
   * Signs and verifies a whole batch, blocking; see batch.ts for the layout of both arrays. Each item has its
   * own status, one bad item never affects another. Throws only if an array is malformed as a whole (RangeError).
   */
  run(root: RootRef, request: Uint8Array, response: Uint8Array): void;

  /** Wipes the opened key of this number: with `native` for the whole process, with `openssl` in this thread only. */
  forget(keyNumber: number): void;

  /**
   * HKDF-Extract (RFC 5869 section 2.2) of a secret: a MAC key, with `native` in its own pages. Wipes `secret`, which
   * should be made over an ArrayBuffer: of other small arrays V8 may keep a copy. The reference may cross to a worker thread.
   */
  extractMacKey(secret: Uint8Array, salt: string): MacKeyRef;

  /** A MAC key, derived from the root key for this purpose: HKDF-SHA-256 (RFC 5869), no salt, info `intaglio/mac/v1\0<purpose>`. */
  rootMacKey(root: RootRef, purpose: string): MacKeyRef;

  /** The functions that compute with a MAC key of this engine: about 4 us, and 1 us for each KiB. */
  macKey(ref: MacKeyRef): MacKey;

  /** With `native` wipes the key, for the whole process. */
  closeMacKey(ref: MacKeyRef): void;

  stats(): EngineStats;

  /**
   * Wipes every opened key, MAC key and root. With `openssl` a root lives on in its KeyObject, until whoever holds that lets go
   * of it; OpenSSL clears its bytes when it is collected.
   */
  wipe(): void;
}
