import { type KeyType, keyTypes, type Scheme, schemes } from '../algorithms/ids.ts';
import { decodeBase64, encodeBase64 } from '../core/bytes.ts';
import { createCancellation } from '../core/cancellation.ts';
import type { Clock } from '../core/clock.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import { StartError } from '../core/start-error.ts';
import type { CryptoDispatch } from '../dispatch/crypto-dispatch.ts';
import { batchOps } from '../engine/batch.ts';
import type { Engine, RootRef } from '../engine/engine.ts';
import { buildKeyReference } from '../engine/key-reference.ts';
import { softwareBackend } from '../keys/record.ts';
import { createCostMeter } from '../queue/cost-meter.ts';
import type { Store } from '../store/store.ts';
import { isOfOnePiece } from './key-pair.ts';

/** A key with which this service attests: its log's checkpoints. Sealed like all others, and of no tenant. */
export interface AttestationKey {
  readonly scheme: Scheme;
  readonly publicKey: Uint8Array;
  /** The bytes that a sign item carries as its key. */
  readonly keyReference: Uint8Array;
}

/** One generation of them. */
export interface AttestationKeys {
  readonly ed25519: AttestationKey;
  readonly mlDsa44: AttestationKey;
}

/** The log has said which keys come; both generations sign from then on. */
export interface Announced {
  /** Of the log that said it: another epoch is another log. */
  readonly origin: string;
  /** UTC, milliseconds since 1970: the old keys sign no longer and are destroyed. */
  readonly overlapEndsAtMs: number;
}

/** Keys that are to replace the current ones. */
export interface NextKeys {
  readonly keys: AttestationKeys;
  /** The person who asked for them. */
  readonly actor: string;
  /** Undefined: the log does not know of them yet, and they sign nothing. */
  readonly announced: Announced | undefined;
}

/** A checkpoint that is not signed by then is signed later, over more records. */
const signDeadlineMs = 1_000;

/** Signs with an attestation key on the crypto workers. Rejects when they have no time for it. */
export function signWith(
  lane: CryptoDispatch,
  key: AttestationKey,
  clock: Clock,
): (message: Uint8Array) => Promise<Uint8Array> {
  const meter = createCostMeter(100);
  return async (message) => {
    const offeredAtMs = clock.monotonicMs();
    const home = softwareBackend;
    const { scheme, keyReference } = key;
    const item = { op: batchOps.sign, scheme, keyNumber: 0, key: keyReference, inputs: [message], home };
    const [outcome] = await lane.runAll([{ kind: 'sign', items: [item], meters: [meter] }], {
      tenant: attestationTenant,
      offeredAtMs,
      deadlineAtMs: offeredAtMs + signDeadlineMs,
      cancellation: createCancellation(),
      ownWork: true,
    });
    const signature = outcome?.ok === true ? outcome.value[0]?.outputs[0] : undefined;
    if (signature === undefined) throw new Error('the attestation key did not sign');
    // A view into the whole batch's answer.
    return Uint8Array.from(signature);
  };
}

/** No tenant may have this name. */
const attestationTenant = '/attestation';
export const attestationKeysEntry = 'meta/attestation-keys';
const storeKey = attestationKeysEntry;
const maxSealedBytes = 4096;
/** A new key whose 32-bit id is taken is made again; more than twice in a row is not chance. */
const maxAttempts = 3;

interface StoredKey {
  readonly sealed: string;
  readonly publicKey: string;
}

interface StoredKeys {
  readonly ed25519: StoredKey;
  readonly mlDsa44: StoredKey;
}

/** Version 1 had one generation only: the first. */
interface Stored extends StoredKeys {
  readonly v: 2;
  readonly generation: number;
  readonly next?: StoredKeys & { readonly actor: string; readonly announced?: Announced };
}

/**
 * The attestation keys of a store, in one entry that is replaced as a whole: whenever the process is killed there is a
 * generation that signs, and where the log announced a second one, that one too.
 */
export class AttestationKeyStore {
  readonly #engine: Engine;
  #root: RootRef;
  readonly #store: Store;
  #stored: Stored;
  #revision: number;
  #current: AttestationKeys;
  #next: NextKeys | undefined;

  /** The first call on a store makes the first generation. */
  static async open(engine: Engine, root: RootRef, store: Store): Promise<AttestationKeyStore> {
    const found = await store.get(storeKey);
    if (!found.ok) throw new StartError('the store does not answer');
    if (found.value !== undefined) {
      const stored = parse(found.value.value);
      requireOnePiece(engine, root, stored);
      return new AttestationKeyStore(engine, root, store, stored, found.value.revision);
    }
    const made: Stored = { v: 2, generation: 1, ...generate(engine, root, 1) };
    const outcome = await store.commit([{ key: storeKey, value: bytesOf(made), expectedRevision: 0 }]);
    if (!outcome.ok || !outcome.value.committed) throw new StartError('the store cannot be written');
    return new AttestationKeyStore(engine, root, store, made, outcome.value.revision);
  }

  private constructor(engine: Engine, root: RootRef, store: Store, stored: Stored, revision: number) {
    this.#engine = engine;
    this.#root = root;
    this.#store = store;
    this.#stored = stored;
    this.#revision = revision;
    this.#current = keysOf(stored, stored.generation);
    this.#next = nextOf(stored);
  }

  get current(): AttestationKeys {
    return this.#current;
  }

  /** Undefined: nothing is being replaced. */
  get next(): NextKeys | undefined {
    return this.#next;
  }

  /** New keys are sealed under this root key, which opens those that there are. */
  useRoot(root: RootRef): void {
    this.#root = root;
  }

  /** Takes the entry as it is in the store, where it has been sealed anew. */
  async reload(): Promise<void> {
    const found = await this.#store.get(storeKey);
    if (found.ok && found.value !== undefined) this.#adopt(parse(found.value.value), found.value.revision);
  }

  /** Makes the next generation, which signs nothing yet. `fits`: whether it can be told apart from the current one. */
  async begin(actor: string, fits: (keys: AttestationKeys) => boolean): Promise<Result<void>> {
    const { generation, next } = this.#stored;
    if (next !== undefined) return refuse('Conflict', 'the attestation keys are being replaced already');
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const made = generate(this.#engine, this.#root, generation + 1);
      if (fits(keysOf(made, generation + 1)))
        return this.#replace({ ...this.#stored, next: { ...made, actor } });
    }
    return refuse('Internal');
  }

  /** Both generations sign from now on. */
  async announced(announced: Announced): Promise<Result<void>> {
    const { next } = this.#stored;
    if (next === undefined) return refuse('Conflict', 'no attestation keys are being replaced');
    return this.#replace({ ...this.#stored, next: { ...next, announced } });
  }

  /** The next generation is the current one; the one before is gone. */
  async finish(): Promise<Result<void>> {
    const { generation, next } = this.#stored;
    if (next?.announced === undefined) return refuse('Conflict', 'no attestation keys have been announced');
    const { ed25519, mlDsa44 } = next;
    return this.#replace({ v: 2, generation: generation + 1, ed25519, mlDsa44 });
  }

  async #replace(stored: Stored): Promise<Result<void>> {
    const change = { key: storeKey, value: bytesOf(stored), expectedRevision: this.#revision };
    const outcome = await this.#store.commit([change]);
    if (outcome.ok && outcome.value.committed) {
      this.#adopt(stored, outcome.value.revision);
      return ok(undefined);
    }
    // A store that refuses may have committed all the same, and a stale revision never commits.
    const found = await this.#store.get(storeKey);
    if (found.ok && found.value !== undefined) this.#adopt(parse(found.value.value), found.value.revision);
    return outcome.ok ? refuse('Conflict', 'another change of the attestation keys came between') : outcome;
  }

  #adopt(stored: Stored, revision: number): void {
    this.#stored = stored;
    this.#revision = revision;
    this.#current = keysOf(stored, stored.generation);
    this.#next = nextOf(stored);
  }
}

/** The entry with all keys sealed by `anew`, which gives undefined for what needs no sealing; undefined where none did. */
export function resealAttestationKeys(
  value: Uint8Array,
  anew: (tenant: string, aad: string, sealed: Uint8Array) => Uint8Array | undefined,
): Uint8Array | undefined {
  const stored = parse(value);
  let changed = false;
  const key = (of: StoredKey, keyType: KeyType, generation: number): StoredKey => {
    const sealed = decodeBase64(of.sealed, maxSealedBytes) as Uint8Array;
    const resealed = anew(attestationTenant, aadOf(keyType, generation), sealed);
    if (resealed === undefined) return of;
    changed = true;
    return { ...of, sealed: encodeBase64(resealed) };
  };
  const both = ({ ed25519, mlDsa44 }: StoredKeys, generation: number): StoredKeys => ({
    ed25519: key(ed25519, keyTypes.ed25519, generation),
    mlDsa44: key(mlDsa44, keyTypes['ml-dsa-44'], generation),
  });
  const made: Stored = {
    ...{ ...stored, ...both(stored, stored.generation) },
    ...(stored.next && { next: { ...stored.next, ...both(stored.next, stored.generation + 1) } }),
  };
  return changed ? bytesOf(made) : undefined;
}

/** A stranger who can write into the store could otherwise let this service tell others to trust a key of theirs. */
function requireOnePiece(engine: Engine, root: RootRef, stored: Stored): void {
  const generations = [keysOf(stored, stored.generation)];
  const next = nextOf(stored);
  if (next !== undefined) generations.push(next.keys);
  for (const key of generations.flatMap(({ ed25519, mlDsa44 }) => [ed25519, mlDsa44])) {
    if (isOfOnePiece(engine, root, key.scheme, key.keyReference, key.publicKey) !== true) {
      throw new StartError('an attestation key in the store does not belong to its public key');
    }
  }
}

function generate(engine: Engine, root: RootRef, generation: number): StoredKeys {
  const make = (keyType: KeyType): StoredKey => {
    const { sealed, publicKey } = engine.generate(
      root,
      keyType,
      attestationTenant,
      aadOf(keyType, generation),
    );
    return { sealed: encodeBase64(sealed), publicKey: encodeBase64(publicKey) };
  };
  return { ed25519: make(keyTypes.ed25519), mlDsa44: make(keyTypes['ml-dsa-44']) };
}

function bytesOf(stored: Stored): Uint8Array {
  return Buffer.from(JSON.stringify(stored));
}

function parse(value: Uint8Array): Stored {
  try {
    const stored = JSON.parse(Buffer.from(value).toString()) as Stored | (StoredKeys & { readonly v: 1 });
    const current: Stored = stored.v === 1 ? { ...stored, v: 2, generation: 1 } : stored;
    if (current.v !== 2) throw new Error('of a later version');
    keysOf(current, current.generation);
    nextOf(current);
    return current;
  } catch (cause) {
    throw new StartError('the attestation keys in the store cannot be read', { cause });
  }
}

function keysOf(stored: StoredKeys, generation: number): AttestationKeys {
  return {
    ed25519: keyOf(stored.ed25519, keyTypes.ed25519, schemes.ed25519, generation),
    mlDsa44: keyOf(stored.mlDsa44, keyTypes['ml-dsa-44'], schemes['ml-dsa-44'], generation),
  };
}

function nextOf({ generation, next }: Stored): NextKeys | undefined {
  if (next === undefined) return undefined;
  return { keys: keysOf(next, generation + 1), actor: next.actor, announced: next.announced };
}

function keyOf(stored: StoredKey, keyType: KeyType, scheme: Scheme, generation: number): AttestationKey {
  const sealed = decodeBase64(stored.sealed, maxSealedBytes);
  const publicKey = decodeBase64(stored.publicKey, maxSealedBytes);
  if (sealed === undefined || publicKey === undefined) throw new Error('not base64');
  const keyReference = buildKeyReference(attestationTenant, aadOf(keyType, generation), sealed);
  return { scheme, publicKey, keyReference };
}

/** The first generation was sealed before there were others. */
function aadOf(keyType: KeyType, generation: number): string {
  return generation === 1 ? `attestation/v1/${keyType}` : `attestation/v1/${keyType}/${generation}`;
}
