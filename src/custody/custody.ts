import type { Ability } from '../algorithms/ids.ts';
import type { Result } from '../core/result.ts';
import type { CryptoCall } from '../dispatch/crypto-dispatch.ts';
import type { PrivateParts } from '../keys/keyring.ts';
import type { Carrier } from '../queue/lane.ts';

/** The custody of private keys: it makes them, names them for work, and destroys them. */
export interface Custody extends PrivateParts {
  /** The claim about the keys' residence that an auditor may rely on, as answers name it. */
  readonly attestationClass: string;
  /** What its keys cannot do, where another home has them than our engine: refused before anything is queued. Absent: nothing. */
  readonly lacks?: ReadonlySet<Ability>;
}

/** The custodies by the names that records have. `software` is always there. */
export type Custodies = ReadonlyMap<string, Custody>;

/** A custody whose keys are not in our engine, with the carrier that takes work to them. */
export interface Home {
  readonly custody: Custody;
  readonly carrier: Carrier<CryptoCall>;
  /** This key number comes in no item any more: what the home keeps under it may go. Of its own keys and of others. */
  forget(keyNumber: number): void;
  /** Waits for calls under way. */
  close(): Promise<void>;
  /** Absent of a home that cannot be away. */
  readonly contact?: HomeContact;
  /**
   * The token's word about one of its keys, by its key reference. AttestationMissing: it has none. StoreUnavailable: it is away.
   * `bound`: 32 bytes for whatever the token itself signs, where it does. Absent of a home without a token.
   */
  evidence?(keyReference: Uint8Array, bound: Uint8Array): Promise<Result<TokenEvidence>>;
}

/** The state of the way to a home. */
export interface HomeContact {
  /** False: work for its keys is refused at once. */
  readonly up: boolean;
  /** Of its last good answer, on the monotonic clock. */
  readonly lastContactAtMs: number;
  /** Why it is not up, in words for the operator; no secret. */
  readonly reason?: string | undefined;
  /** While it is not up: true where it is being tried right now. Absent: nobody knows. */
  readonly trying?: boolean;
  /** Operations that had no answer in time, since the start. Absent: they are not counted. */
  readonly timeouts?: number;
  /** `listener` is called after each change of `up`, and must not throw. */
  onChange(listener: (contact: HomeContact) => void): void;
}

/**
 * What a TPM signs of itself and of a key (TPM 2.0 part 2, 10.12): structures as it marshals them. The key that signs takes nothing
 * that did not begin in that TPM.
 */
export interface TpmAttestation {
  /** TPMT_PUBLIC of the key that signs: P-256, restricted. */
  readonly signer: Uint8Array;
  /** TPMT_PUBLIC of the key that it is about. */
  readonly publicArea: Uint8Array;
  /** TPM2_Certify: a TPMS_ATTEST, with r and s of 32 bytes each. */
  readonly certified: TpmSigned;
  /** TPM2_Quote of `pcrs`. */
  readonly quoted: TpmSigned;
  /** SHA-256 in hex by their numbers. */
  readonly pcrs: Readonly<Record<string, string>>;
}

export interface TpmSigned {
  readonly attest: Uint8Array;
  readonly signature: Uint8Array;
}

/** What a token says about itself and about one of its keys. It is the module's word, and no proof. */
export interface TokenEvidence {
  readonly backend: string;
  readonly token: {
    readonly label: string;
    readonly manufacturer: string;
    readonly model: string;
    readonly serial: string;
    /** As <major>.<minor>. */
    readonly firmware: string;
  };
  /** CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_SENSITIVE, CKA_EXTRACTABLE. */
  readonly key: {
    readonly local: boolean;
    readonly alwaysSensitive: boolean;
    readonly neverExtractable: boolean;
    readonly sensitive: boolean;
    readonly extractable: boolean;
  };
  /** UTC milliseconds at which the token was asked. */
  readonly asOfMs: number;
  /** Of a TPM, which signs it. */
  readonly tpm?: TpmAttestation;
}
