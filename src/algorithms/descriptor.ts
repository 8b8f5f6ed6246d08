import type { KeyType, Scheme } from './ids.ts';

/** One way to sign with a key: most keys have one, RSA keys have two. */
export interface SignatureScheme {
  /** As it stands in `sigs[].alg`. */
  readonly alg: string;
  readonly scheme: Scheme;
  /** Room that a signature needs; DER signatures may be shorter. */
  readonly maxSignatureBytes: number;
  /** First guesses of a signature's and a verification's cost, in microseconds; measurements replace them. */
  readonly signCostUs: number;
  readonly verifyCostUs: number;
}

/** One key pair. A hybrid algorithm has several under one kid. */
export interface Component {
  readonly keyType: KeyType;
  /** What this key can do; the first is the default. Never empty. */
  readonly schemes: readonly [SignatureScheme, ...SignatureScheme[]];
  /** DER of SubjectPublicKeyInfo (RFC 5280) before the raw public key; empty where the raw form is SPKI already. */
  readonly spkiPrefix: Uint8Array;
  /** Whether it withstands a quantum computer; hybrid modes ask for it. */
  readonly postQuantum: boolean;
}

export type Usage = 'sign' | 'verify';

/** Everything that the product knows of an algorithm. Nothing below the registry compares names. */
export interface Algorithm {
  /** As it stands in kids and requests. */
  readonly name: string;
  /** Other names that requests may use. */
  readonly aliases: readonly string[];
  readonly usages: readonly Usage[];
  readonly components: readonly [Component, ...Component[]];
  /** Making such a key may take seconds, so its turn is priced higher among the keys that wait to be made. */
  readonly slowGeneration: boolean;
}
