import type { Ability, HashName, KeyType, Scheme } from './ids.ts';
import type { AlgorithmKind, WorkKind } from './work-kinds.ts';

/** One way to use a key: most keys have one, RSA keys have two. */
export interface SchemeEntry {
  /** As it stands in `sigs[].alg`. */
  readonly alg: string;
  readonly scheme: Scheme;
  /** The most bytes of a signature or tag; DER signatures may be shorter. */
  readonly maxOutputBytes: number;
  /** First guesses of what each kind of work costs, in microseconds; measurements replace them. */
  readonly costUs: Partial<Readonly<Record<WorkKind, number>>>;
  /** It signs a digest by this hash as well as a message; undefined: messages only. */
  readonly hash?: HashName | undefined;
  /** It takes a context of 0 to 255 bytes. */
  readonly takesContext?: true | undefined;
  /** The way of an external mu (FIPS 204): the same scheme, but other code with other costs. */
  readonly mu?: SchemeEntry | undefined;
  /** What an engine has to be able to do for this way to be there, and for its digests. */
  readonly needs?: Ability | undefined;
  readonly digestNeeds?: Ability | undefined;
}

/** HPKE (RFC 9180), base mode, with identifiers of its registries. */
export interface HpkeSuite {
  readonly kemId: number;
  readonly kdfId: number;
  readonly aeadId: number;
  /** The document that the KEM follows, with its version: drafts may still change. */
  readonly kemSource: string;
}

/** One key pair, or one secret key. A hybrid algorithm has several under one kid. */
export interface Component {
  readonly keyType: KeyType;
  /** The schemes that this key can be used with; the first is the default. Never empty. */
  readonly schemes: readonly [SchemeEntry, ...SchemeEntry[]];
  /**
   * DER of SubjectPublicKeyInfo (RFC 5280) before the raw public key; empty where the raw form is SPKI already. Undefined:
   * the key is secret and has no public part.
   */
  readonly spkiPrefix: Uint8Array | undefined;
  /** True if it withstands a quantum computer; hybrid modes ask for it. */
  readonly postQuantum: boolean;
  /** True if one signature has a classical and a post-quantum half that hold only together. */
  readonly composite?: true;
}

/** Everything that the product knows of an algorithm. Nothing below the registry compares names. */
export interface Algorithm {
  /** As it stands in kids and requests. */
  readonly name: string;
  /** Other names that requests may use. */
  readonly aliases: readonly string[];
  readonly kind: AlgorithmKind;
  readonly components: readonly [Component, ...Component[]];
  /** KEM keys: the way in which they wrap. */
  readonly hpke?: HpkeSuite;
  /** The most encryptions and wraps of one version: where nonces are random and so short that they would repeat. */
  readonly maxEncryptions?: number;
  /** Making such a key may take seconds, so its turn is priced higher among the keys that wait to be made. */
  readonly slowGeneration: boolean;
}
