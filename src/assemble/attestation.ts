import { type NoteSigner, noteKey, parseVkey, signatureTypes } from '../audit/format/note.ts';
import type { AuditReading } from '../audit/reading/read-thread.ts';
import type { KeyRotation, KeyRotationParts, RotatingKeys } from '../audit/service/key-rotation.ts';
import type { Config } from '../config/load.ts';
import { systemClock } from '../core/clock.ts';
import { manifest } from '../core/own-package.ts';
import {
  type AttestationKey,
  type AttestationKeyStore,
  type AttestationKeys,
  signWith,
} from '../custody/attestation-keys.ts';
import type { Custodies, Home } from '../custody/custody.ts';
import { Attestor } from '../custody/evidence/attestor.ts';
import type { EvidenceSigner } from '../custody/evidence/jws.ts';
import type { CryptoDispatch } from '../dispatch/crypto-dispatch.ts';
import type { Engine } from '../engine/engine.ts';
import { softwareBackend } from '../keys/record.ts';
import { buildVersion } from '../observe/build-version.ts';
import type { Health } from '../observe/health.ts';
import type { Metrics } from '../observe/metrics.ts';
import { createAttestMetrics } from '../observe/series/attest-metrics.ts';
import type { EvidenceParts } from '../operations/operation.ts';

/** The attestation keys of the store as signers of a log's checkpoints. */
export function rotatingKeys(stored: AttestationKeyStore, lane: CryptoDispatch): RotatingKeys {
  // The cost of a signature is learnt for each key.
  const signing = new WeakMap<AttestationKey, NoteSigner['sign']>();
  const sign = (key: AttestationKey): NoteSigner['sign'] => {
    const known = signing.get(key) ?? signWith(lane, key, systemClock);
    signing.set(key, known);
    return known;
  };
  const vkeys = (origin: string, { ed25519, mlDsa44 }: AttestationKeys) => [
    noteKey(origin, signatureTypes.ed25519, ed25519.publicKey).vkey,
    noteKey(origin, signatureTypes.mlDsa44, mlDsa44.publicKey).vkey,
  ];
  const signers = (origin: string, keys: AttestationKeys): NoteSigner[] => {
    const [ed25519, mlDsa44] = vkeys(origin, keys) as [string, string];
    return [
      { vkey: ed25519, sign: sign(keys.ed25519) },
      { vkey: mlDsa44, sign: sign(keys.mlDsa44) },
    ];
  };
  return {
    current: (origin) => signers(origin, stored.current),
    next: (origin) => (stored.next === undefined ? [] : signers(origin, stored.next.keys)),
    change: () => stored.next,
    begin: (actor, origin, fits) => stored.begin(actor, (keys) => fits(vkeys(origin, keys))),
    announced: (announced) => stored.announced(announced),
    finish: () => stored.finish(),
  };
}

/** Proofs from the log as it lies on the disk. */
export function proverOf(reading: AuditReading): KeyRotationParts['prove'] {
  return async (index) => {
    const all = { tenant: undefined, opId: undefined };
    const page = await reading.ask({ of: 'records', from: index, limit: 1, ...all });
    const proof = await reading.ask({ of: 'proof', index, tenant: undefined });
    if (!page.ok || !page.value.found || !('page' in page.value)) return undefined;
    if (!proof.ok || !proof.value.found || !('bytes' in proof.value)) return undefined;
    const [first] = page.value.page.records;
    return first?.index === index ? { record: first.record, proof: proof.value.bytes } : undefined;
  };
}

export interface OpenedEvidence {
  /** Undefined where no log is kept, whose keys sign evidence. */
  readonly parts: EvidenceParts | undefined;
  close(): void;
}

/** Evidence of where keys are, signed by the attestation keys of the log. */
export function openEvidence(
  { attestRequire, attestFailOpen }: Config,
  parts: {
    readonly engine: Engine;
    readonly homes: readonly Home[];
    readonly custodies: Custodies;
    readonly rotation: Pick<KeyRotation, 'newest'> | undefined;
    readonly health: Health;
    readonly metrics: Metrics;
  },
): OpenedEvidence {
  const { engine, homes, custodies, rotation } = parts;
  if (rotation === undefined) return { parts: undefined, close: () => {} };
  const version = buildVersion(manifest.version);
  const signers = evidenceSigners(rotation);
  const attestor = new Attestor({
    ...{ homes, signers, clock: systemClock, made: createAttestMetrics(parts.metrics) },
    softwareClass: custodies.get(softwareBackend)?.attestationClass ?? 'none',
    software() {
      const { name, libraries } = engine.description;
      return { version, engine: name, libraries, memoryLocked: engine.stats().memoryLocked };
    },
  });
  if (attestRequire) {
    const need = attestFailOpen ? 'wanted' : 'required';
    parts.health.condition('attestation', need, () => attestor.missing.length === 0);
  }
  return {
    parts: { attestor, required: attestRequire && !attestFailOpen },
    close: () => attestor.close(),
  };
}

/** The newest keys of the log as signers of evidence: their names are the beginnings of their verifier keys. */
function evidenceSigners(rotation: Pick<KeyRotation, 'newest'>) {
  return () => {
    const { origin, signers } = rotation.newest();
    return { issuer: origin, signers: signers.flatMap((signer) => evidenceSignerOf(signer) ?? []) };
  };
}

function evidenceSignerOf({ vkey, sign }: NoteSigner): EvidenceSigner | undefined {
  const key = parseVkey(vkey);
  if (!key.ok) return undefined;
  const { name, id, type } = key.value;
  const alg = type === signatureTypes.ed25519 ? 'EdDSA' : 'ML-DSA-44';
  return { alg, kid: `${name}+${id}`, sign };
}
