/**
 * The native engine: private keys in locked memory outside of JavaScript, used in batches.
 *
 * All state belongs to the process: roots, opened keys and settings are shared by every thread that loads the
 * addon. Every function is synchronous. Whatever fails throws an `Error` whose `code` is a {@link NativeErrorCode};
 * messages carry no input. No function returns private key bytes.
 *
 * Signing: Ed25519, ECDSA and RSA by AWS-LC, ML-DSA by liboqs; verification is AWS-LC's throughout. Ed25519 public keys
 * and R of small order are refused, and an RSA public key has one encoding only (parameters NULL).
 *
 * Encrypting and wrapping: AES, ChaCha20-Poly1305, X25519 and HKDF by AWS-LC, ML-KEM by liboqs; HPKE's key schedule, X-Wing's
 * combiner and XAES' key derivation are ours, over these. What passes through (rewrap, reencrypt) stays in the arena.
 *
 * Key types: 1 ed25519, 2 ml-dsa-44, 3 ml-dsa-65, 4 ml-dsa-87, 5 ecdsa-p256, 16 rsa-2048, 17 rsa-3072, 18 rsa-4096.
 */

export type NativeErrorCode =
  /** an argument has the wrong type or range, or names an unknown root or key type */
  | 'BAD_ARGUMENT'
  /** the arena already has another size */
  | 'ALREADY_CONFIGURED'
  /** no file, or no directory to make it in */
  | 'ROOT_MISSING'
  /** not a regular file; links are not followed */
  | 'ROOT_NOT_REGULAR'
  /** the mode lets group or others in, or this user may not read (or write) there */
  | 'ROOT_PERMISSIONS'
  /** not exactly 32 bytes */
  | 'ROOT_LENGTH'
  /** `rootCreateFile` never overwrites */
  | 'ROOT_EXISTS'
  /** 64 roots are loaded, or 64 MAC keys */
  | 'TOO_MANY_ROOTS'
  /** every slot of the arena is in use at this moment */
  | 'ARENA_FULL'
  /** the system gives no pages that can be kept out of core dumps */
  | 'ARENA_UNAVAILABLE'
  /** the system gives no randomness */
  | 'RANDOM_UNAVAILABLE'
  | 'SEAL_FAILED'
  /** request and response of `run` do not form a batch */
  | 'MALFORMED_BATCH'
  | 'IO'
  /** a bug */
  | 'INTERNAL'
  | 'GenericFailure';

/** What was built in, and what this machine's CPU lets it use. */
export interface Description {
  /** version of liboqs */
  liboqs: string;
  /** version of AWS-LC */
  awslc: string;
  /** ML-DSA runs on AVX2 code here (chosen at run time); otherwise on portable C */
  mldsaAvx2: boolean;
  /** architecture and the CPU features that matter */
  cpu: string;
}

export interface Settings {
  /** requests to the random generator between two reseedings by the operating system, 1 to 4294967295 */
  reseedIntervalOps: number;
  /** upper bound of the key arena, 393216 (384 KiB) to 1073741824 (1 GiB), rounded up to 32 KiB */
  arenaBytes: number;
}

export interface SealedKey {
  /** sealed blob version 1, for the store */
  sealed: Uint8Array;
  /** ed25519 raw 32, ml-dsa raw FIPS 204, ecdsa-p256 SEC1 uncompressed 65, rsa SubjectPublicKeyInfo DER */
  publicKey: Uint8Array;
}

export interface Statistics {
  /** configured upper bound of the arena */
  arenaBytes: number;
  /** pages in use so far: the arena's and the random generator's */
  committedBytes: number;
  /** of these, the ones that the kernel agreed to lock (RLIMIT_MEMLOCK) */
  lockedBytes: number;
  /** all committed pages are locked */
  locked: boolean;
  /** opened keys in the cache */
  keys: number;
  /** keys taken out of the cache for want of room since the start */
  evictions: number;
  /** times the random generator was seeded by the operating system */
  reseeds: number;
}

export function describe(): Description;

/**
 * Sets the bounds, once at the start and before any key or root is made. The same arena size again is no error, so
 * every thread may call it; another size throws ALREADY_CONFIGURED. Defaults: 65536 requests, 4 MiB (which fits the
 * customary RLIMIT_MEMLOCK of 8 MiB). The first call of a process takes 20 to 30 ms: AWS-LC gathers entropy.
 */
export function configure(settings: Settings): void;

/**
 * Loads a root key: a regular file of exactly 32 raw bytes that neither group nor others may access. Returns its
 * number. Throws ROOT_MISSING, ROOT_NOT_REGULAR, ROOT_PERMISSIONS, ROOT_LENGTH, IO.
 */
export function rootFromFile(path: string): number;

/**
 * Makes a new root key file, mode 0600, durable on return (file and directory synced), and loads it. Returns its
 * number. Throws ROOT_EXISTS, ROOT_MISSING (directory), ROOT_PERMISSIONS, IO.
 */
export function rootCreateFile(path: string): number;

/**
 * Loads a root key from a regular file or pipe that is open under this number (3 or more): exactly 32 raw bytes, then the
 * end, within 10 s. Closes it in any case. Returns its number. Throws ROOT_MISSING, ROOT_NOT_REGULAR, ROOT_PERMISSIONS
 * (a file that has a name and that others may access), ROOT_LENGTH, IO.
 */
export function rootFromDescriptor(descriptor: number): number;

/**
 * Calls `fill` once with 32 zero bytes of the arena, which it is to write the root key into; whatever it returns or throws is
 * lost. The page is empty afterwards. Returns the root's number. Throws ROOT_LENGTH where all bytes are still zero,
 * BAD_ARGUMENT where `fill` threw.
 */
export function rootFromLentPage(fill: (page: Uint8Array) => void): number;

/** Makes a root key that exists in memory only. Returns its number. */
export function rootRandom(): number;

/** A number that seals under the root `current` and opens what either has sealed. Both numbers stay. */
export function joinRoots(current: number, before: number): number;

/** The number is of no root from now on; the key is wiped once no other number has it. False if it was of none. */
export function closeRoot(root: number): boolean;

/**
 * Opens a blob under `from` and seals its secret under `to`, for the same tenant and aad; null where it does not open. Throws
 * SEAL_FAILED or ARENA_FULL where it could not be tried.
 */
export function reseal(
  from: number,
  to: number,
  tenant: string,
  aad: string,
  sealed: Uint8Array,
): Uint8Array | null;

/**
 * Makes a key pair. RSA takes 20 ms (2048) to several seconds (4096) and blocks the calling thread.
 * @param tenant selects the sealing key; at most 65535 bytes of UTF-8
 * @param aad bound to the blob, must be given again to open it; at most 65535 bytes of UTF-8
 */
export function generate(root: number, keyType: number, tenant: string, aad: string): SealedKey;

/**
 * Seals a key brought from outside, for test vectors. `secret` is filled with zeros whatever the outcome.
 * @param secret seed of 32 bytes (ed25519, ml-dsa), PKCS#8 DER (ecdsa-p256, rsa)
 */
export function importKey(
  root: number,
  keyType: number,
  tenant: string,
  aad: string,
  secret: Uint8Array,
): SealedKey;

/**
 * Runs a batch; the layout of both arrays is the engine ABI of src/engine. The arrays must not be
 * backed by shared memory and must not overlap. Throws MALFORMED_BATCH or BAD_ARGUMENT if the arrays are malformed as
 * a whole; everything else is a status of an item. `root` matters only for keys that are not in the cache (a batch
 * without them may pass 0); an unknown root makes those items KEY_UNUSABLE.
 */
export function run(root: number, request: Uint8Array, response: Uint8Array): void;

/**
 * Makes a key of HMAC-SHA-256 in the arena: HKDF-Extract (RFC 5869) of `secret` with `salt`. `secret` is filled with
 * zeros whatever the outcome. Returns its number.
 */
export function extractMacKey(secret: Uint8Array, salt: Uint8Array): number;

/**
 * Makes a key of HMAC-SHA-256 in the arena that is derived from a root key for this purpose: HKDF-SHA-256 (RFC 5869) without
 * salt, info `intaglio/mac/v1\0<purpose>`. Returns its number.
 */
export function rootMacKey(root: number, purpose: string): number;

/** The MAC key of this number is wiped; false if there is none. */
export function closeMacKey(key: number): boolean;

/** HKDF-Extract, with `salt`, of the MAC that `macChain` would give: the key of another secret. Returns its number. */
export function deriveMacKey(key: number, messages: Uint8Array[], salt: Uint8Array): number;

/**
 * HMAC(… HMAC(HMAC(key, first), second) …, last) into `out` (32 bytes): each MAC is the key of the next, and only the
 * last is given. At least one message; `out` must not overlap any of them.
 */
export function macChain(key: number, messages: Uint8Array[], out: Uint8Array): void;

/**
 * Takes an opened key out of the cache; false if it is not there. It is wiped at once, or when the signature that is
 * being made with it is done. An opening that began before this call is not cached after it; one that begins later is
 * (the caller stops sending such items first).
 */
export function forget(keyNumber: number): boolean;

/** Wipes all keys, MAC keys, roots and the random generator's state. For the stop; roots can be loaded anew. */
export function wipe(): void;

export function stats(): Statistics;

/** Whether the kernel calls its clock synchronised (adjtimex); null where it does not say. */
export function clockSynchronised(): boolean | null;

/** No core dump of this process from here on (PR_SET_DUMPABLE 0); false where the system refused. */
export function forbidCoreDumps(): boolean;

/** Ends this process with `status` after `limitMs`, unless it has ended by then; false where no thread could be had. */
export function endWithin(status: number, limitMs: number): boolean;
