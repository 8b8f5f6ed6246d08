import { type NoteSigner, noteKey, signatureTypes } from '../audit/format/note.ts';
import type { AuditReading } from '../audit/reading/read-thread.ts';
import type { KeyRotationParts, RotatingKeys } from '../audit/service/key-rotation.ts';
import { systemClock } from '../core/clock.ts';
import {
  type AttestationKey,
  type AttestationKeyStore,
  type AttestationKeys,
  signWith,
} from '../custody/attestation-keys.ts';
import type { CryptoDispatch } from '../dispatch/crypto-dispatch.ts';

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
