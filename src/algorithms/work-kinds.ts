/**
 * The kinds of work that can be asked of a key, one row each. Everything that differs between kinds for limits, the audit log,
 * the queue and the choice of a version stands here, so that none of these can forget one.
 */
interface WorkKindFacts {
  /** Calls of one tenant take turns by class: see queue/scheduler.ts. */
  readonly callClass: 'sign' | 'verify' | 'manage';
  /** It uses the private or secret key: no record, no use; the key's usage limits count it. */
  readonly usesSecret: boolean;
  /** Only the current version of an active key does it; otherwise every version that is not destroyed. */
  readonly currentOnly: boolean;
  /** One item that could not be done fails its whole work: half of a hybrid signature must not pass for a whole one. */
  readonly allOrNothing: boolean;
}

/** Makes something new with the secret key. */
const makes = { callClass: 'sign', usesSecret: true, currentOnly: true, allOrNothing: true } as const;
/** Gives an answer for what a version made before, which may be that it did not make it. */
const opens = { callClass: 'sign', usesSecret: true, currentOnly: false, allOrNothing: false } as const;
/** Needs public keys only. */
const checks = { callClass: 'verify', usesSecret: false, currentOnly: false, allOrNothing: false } as const;

export const workKinds = {
  sign: makes,
  verify: checks,
  encrypt: makes,
  decrypt: opens,
  /** The ciphertext of a version becomes one of the current version; both secret keys are used. */
  reencrypt: opens,
  /** By a secret key; a new data key is work of the same kind. */
  wrap: makes,
  unwrap: opens,
  /** What a version wrapped becomes wrapped by the current one: by a secret or private key, and a secret or public one. */
  rewrap: opens,
  /** Wrapping by a KEM key, for which its public key is enough; a new data key is work of the same kind. */
  encapsulate: { ...checks, currentOnly: true, allOrNothing: true },
  /** Unwrapping by a KEM key. */
  decapsulate: opens,
  mac: makes,
  verify_mac: { ...opens, callClass: 'verify' },
  derive: makes,
  generate: { callClass: 'manage', usesSecret: true, currentOnly: false, allOrNothing: true },
} as const satisfies Record<string, WorkKindFacts>;

export type WorkKind = keyof typeof workKinds;

/** Families of algorithms, and what can be asked of their keys. */
export const usagesOf = {
  signature: ['sign', 'verify'],
  aead: ['encrypt', 'decrypt', 'reencrypt', 'wrap', 'unwrap', 'rewrap'],
  kem: ['encapsulate', 'decapsulate', 'rewrap'],
  key_wrap: ['wrap', 'unwrap', 'rewrap'],
  mac: ['mac', 'verify_mac'],
  kdf: ['derive'],
} as const satisfies Record<string, readonly WorkKind[]>;

export type AlgorithmKind = keyof typeof usagesOf;

/** True if versions that are not current any more still use their secret key. */
export function oldVersionsUseSecret(kind: AlgorithmKind): boolean {
  return usagesOf[kind].some((usage) => workKinds[usage].usesSecret && !workKinds[usage].currentOnly);
}
