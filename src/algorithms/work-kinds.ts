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
  /** By a data key that a version has wrapped, and that leaves the engine in no other form. */
  encrypt_under: { ...makes, currentOnly: false },
  decrypt_under: opens,
  /** By a secret key; a new data key is work of the same kind. */
  wrap: makes,
  unwrap: opens,
  /** What a version wrapped becomes wrapped by the current one: by a secret or private key, and a secret or public one. */
  rewrap: opens,
  /** Wrapping by a KEM key, for which its public key is enough; a new data key is work of the same kind. */
  encapsulate: { ...checks, currentOnly: true, allOrNothing: true },
  /** Unwrapping by a KEM key. */
  decapsulate: opens,
  /** As wrapping by a secret key, under another label, so that neither opens what the other made. */
  seal: makes,
  unseal: opens,
  mac: makes,
  verify_mac: { ...opens, callClass: 'verify' },
  /** Deterministic: a version derives the same again as long as it is there. */
  derive: { ...makes, currentOnly: false },
  generate: { callClass: 'manage', usesSecret: true, currentOnly: false, allOrNothing: true },
} as const satisfies Record<string, WorkKindFacts>;

export type WorkKind = keyof typeof workKinds;

/** Families of algorithms, and what can be asked of their keys. */
export const usagesOf = {
  signature: ['sign', 'verify'],
  aead: [
    'encrypt',
    'decrypt',
    'reencrypt',
    'encrypt_under',
    'decrypt_under',
    'wrap',
    'unwrap',
    'rewrap',
    'seal',
    'unseal',
  ],
  kem: ['encapsulate', 'decapsulate', 'rewrap'],
  key_wrap: ['wrap', 'unwrap', 'rewrap'],
  mac: ['mac', 'verify_mac'],
  kdf: ['derive'],
} as const satisfies Record<string, readonly WorkKind[]>;

export type AlgorithmKind = keyof typeof usagesOf;

/**
 * The uses of keys as policies and answers name them: the operations of callers. Names stand in key records and are never renamed.
 */
export const usages = [
  ...(['sign', 'verify', 'encrypt', 'decrypt', 'wrap', 'unwrap', 'seal', 'unseal'] as const),
  ...(['mac', 'mac_verify', 'derive'] as const),
] as const;
export type Usage = (typeof usages)[number];

/** The kinds of work that use a key which is there. */
export type UsedKind = Exclude<WorkKind, 'generate'>;

/** All that a policy has to permit for each kind of work. A KEM key is wrapped to and unwrapped with, as a secret key is. */
const usagesOfWork: Readonly<Record<UsedKind, readonly [Usage, ...Usage[]]>> = {
  sign: ['sign'],
  verify: ['verify'],
  encrypt: ['encrypt'],
  decrypt: ['decrypt'],
  reencrypt: ['encrypt', 'decrypt'],
  encrypt_under: ['unwrap', 'encrypt'],
  decrypt_under: ['unwrap', 'decrypt'],
  wrap: ['wrap'],
  unwrap: ['unwrap'],
  rewrap: ['wrap', 'unwrap'],
  encapsulate: ['wrap'],
  decapsulate: ['unwrap'],
  seal: ['seal'],
  unseal: ['unseal'],
  mac: ['mac'],
  verify_mac: ['mac_verify'],
  derive: ['derive'],
};

/** The uses that keys of this kind can be limited to, in a fixed order. */
export function usagesOfKind(kind: AlgorithmKind): readonly Usage[] {
  const possible = usagesOf[kind].flatMap((work) => usagesOfWork[work]);
  return usages.filter((usage) => possible.includes(usage));
}

/** `limited`: the uses that the key's policy permits; undefined permits all that its algorithm can do. */
export function permitsUse(limited: readonly Usage[] | undefined, kind: UsedKind): boolean {
  return limited === undefined || usagesOfWork[kind].every((usage) => limited.includes(usage));
}

/** True if versions that are not current any more still use their secret key. */
export function oldVersionsUseSecret(kind: AlgorithmKind): boolean {
  return usagesOf[kind].some((usage) => workKinds[usage].usesSecret && !workKinds[usage].currentOnly);
}
