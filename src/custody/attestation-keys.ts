import { createCostMeter } from '../admission/costs.ts';
import { type KeyType, keyTypes, type Scheme, schemes } from '../algorithms/ids.ts';
import { decodeBase64, encodeBase64 } from '../core/bytes.ts';
import { createCancellation } from '../core/cancellation.ts';
import type { Clock } from '../core/clock.ts';
import { StartError } from '../core/start-error.ts';
import type { CryptoLane } from '../dispatch/signatures.ts';
import { batchOps, batchStatuses } from '../engine/batch.ts';
import type { Engine, RootRef } from '../engine/engine.ts';
import { buildOpening } from '../engine/opening.ts';
import type { Store } from '../store/store.ts';

/** A key with which this service attests: its log's checkpoints. Sealed like all others, and of no tenant. */
export interface AttestationKey {
  readonly scheme: Scheme;
  readonly publicKey: Uint8Array;
  /** What a sign item carries as its key. */
  readonly opening: Uint8Array;
}

export interface AttestationKeys {
  readonly ed25519: AttestationKey;
  readonly mlDsa44: AttestationKey;
}

/** A checkpoint that is not signed by then is signed later, over more records. */
const signDeadlineMs = 1_000;

/** Signs with an attestation key on the crypto workers. Rejects when they have no time for it. */
export function signWith(
  lane: CryptoLane,
  key: AttestationKey,
  clock: Clock,
): (message: Uint8Array) => Promise<Uint8Array> {
  const meter = createCostMeter(100);
  return async (message) => {
    const offeredAtMs = clock.monotonicMs();
    const item = { op: batchOps.sign, scheme: key.scheme, keyNumber: 0, key: key.opening, message };
    const [outcome] = await lane.runAll([{ callClass: 'manage', items: [item], meters: [meter] }], {
      tenant: attestationTenant,
      offeredAtMs,
      deadlineAtMs: offeredAtMs + signDeadlineMs,
      cancellation: createCancellation(),
    });
    const result = outcome?.ok === true ? outcome.value[0] : undefined;
    if (result?.status !== batchStatuses.ok) throw new Error('the attestation key did not sign');
    // A view into the whole batch's answer.
    return Uint8Array.from(result.signature);
  };
}

/** No tenant may have this name. */
const attestationTenant = '/attestation';
const storeKey = 'meta/attestation-keys';
const maxSealedBytes = 4096;

interface StoredKey {
  readonly sealed: string;
  readonly publicKey: string;
}

/** The attestation keys of a store; the first call makes them. */
export async function openAttestationKeys(
  engine: Engine,
  root: RootRef,
  store: Store,
): Promise<AttestationKeys> {
  const stored = await store.get(storeKey);
  if (!stored.ok) throw new StartError('the store does not answer');
  if (stored.value !== undefined) return read(stored.value.value);
  const make = (keyType: KeyType): StoredKey => {
    const { sealed, publicKey } = engine.generate(root, keyType, attestationTenant, aadOf(keyType));
    return { sealed: encodeBase64(sealed), publicKey: encodeBase64(publicKey) };
  };
  const made = { v: 1, ed25519: make(keyTypes.ed25519), mlDsa44: make(keyTypes['ml-dsa-44']) };
  const value = Buffer.from(JSON.stringify(made));
  const outcome = await store.commit([{ key: storeKey, value, expectedRevision: 0 }]);
  if (!outcome.ok || !outcome.value.committed) throw new StartError('the store cannot be written');
  return read(value);
}

function read(value: Uint8Array): AttestationKeys {
  try {
    const stored = JSON.parse(Buffer.from(value).toString()) as Record<'ed25519' | 'mlDsa44', StoredKey>;
    return {
      ed25519: keyOf(stored.ed25519, keyTypes.ed25519, schemes.ed25519),
      mlDsa44: keyOf(stored.mlDsa44, keyTypes['ml-dsa-44'], schemes['ml-dsa-44']),
    };
  } catch (cause) {
    throw new StartError('the attestation keys in the store cannot be read', { cause });
  }
}

function keyOf(stored: StoredKey, keyType: KeyType, scheme: Scheme): AttestationKey {
  const sealed = decodeBase64(stored.sealed, maxSealedBytes);
  const publicKey = decodeBase64(stored.publicKey, maxSealedBytes);
  if (sealed === undefined || publicKey === undefined) throw new Error('not base64');
  return { scheme, publicKey, opening: buildOpening(attestationTenant, aadOf(keyType), sealed) };
}

function aadOf(keyType: KeyType): string {
  return `attestation/v1/${keyType}`;
}
