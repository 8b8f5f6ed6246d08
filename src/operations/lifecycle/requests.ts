import type { Usage } from '../../algorithms/work-kinds.ts';
import type { LifecycleState } from '../../keys/lifecycle/states.ts';
import type {
  KeyAccess,
  KeyEnvironment,
  KeyPlacement,
  KeyPlane,
  RevocationReason,
} from '../../keys/record.ts';
import type { NewRotation } from '../create-key.ts';
import type { ChangeName } from '../idempotency.ts';

/**
 * Requests and answers of the operations on keys with a placement. Keys are named by key_ids, one for each version. Times are UTC in
 * milliseconds since 1970.
 *
 * Refusals that all of them have, by their codes: NoCapability where the caller is of another tenant, environment or plane than the
 * call or the key, or where an agreement is missing or does not serve; NotFound where the tenant has no such key_id; Conflict with
 * `keyState` where the state of the key does not permit it; PolicyViolation where the key's access, usages or the service's
 * algorithms do not.
 */

/** The place that a call names. It has to be one of the caller's own, and the key's; naming another one never helps. */
export interface PlacedCall {
  readonly tenant: string;
  readonly environment: KeyEnvironment;
  readonly plane: KeyPlane;
}

/** A call about one version of a key. */
export interface IdentifiedCall extends PlacedCall {
  /** UUID, any case. */
  readonly keyId: string;
  /** With its version: the request path finds it, and a dialect leaves it away. */
  readonly kid?: string;
}

/** A call that may need the agreement of a second principal. */
export interface ApprovableCall {
  /** Its text as it came; undefined where none came. */
  readonly approval: string | undefined;
}

export interface GenerateRequest extends PlacedCall, ApprovableCall {
  /** A name of ours, or RSA-2048, Ed25519, AES-256. Its keys sign or encrypt, and have one part. */
  readonly keyType: string;
  /** At least one, without repetition: sign and verify, or encrypt and decrypt. BadRequest: not of this type. */
  readonly usages: readonly Usage[];
  /** 1 to 128 of A-Z a-z 0-9 . _ : / @ + -. Conflict: a key of this place that is not destroyed has it. */
  readonly alias: string | undefined;
  readonly validUntilMs: number | undefined;
  readonly access: KeyAccess | undefined;
  /** Undefined: the schedule that holds for its algorithm. */
  readonly rotation: NewRotation | undefined;
  /** The home that makes it and keeps it; software where it is absent. */
  readonly backend?: string | undefined;
  /** As in kids; `kms` where it is undefined. */
  readonly purpose: string | undefined;
  /** SHA-256, in hex, of the request's RFC 8785 JSON without the agreement, which names it. */
  readonly requestSha256: string;
  readonly name: ChangeName | undefined;
}

export interface KeyGenerated {
  readonly keyId: string;
  /** Of the product: versioned. */
  readonly kid: string;
  /** Canonical name in the registry. */
  readonly alg: string;
  readonly createdAtMs: number;
  /** SubjectPublicKeyInfo as PEM; undefined where the key is secret. */
  readonly publicKeyPem: string | undefined;
  /** True when an earlier call with the same op_id did the work. */
  readonly replayed: boolean;
}

export interface IdentifiedSignRequest extends IdentifiedCall, ApprovableCall {
  /** At most 64 KiB; may be empty. */
  readonly data: Uint8Array;
  /** A scheme of ours, or EdDSA, RSA-PSS-SHA256, RSA-PKCS1v15-SHA256, any case; the key's first where it is undefined. */
  readonly alg: string | undefined;
}

export interface IdentifiedSignAnswer {
  readonly keyId: string;
  /** Our name of the scheme: see signatureNameOf. */
  readonly alg: string;
  /** A view of the workers' response, not a copy. */
  readonly signature: Uint8Array;
}

/** Needs no agreement: public keys are anybody's. */
export interface IdentifiedVerifyRequest extends IdentifiedCall {
  readonly data: Uint8Array;
  readonly signature: Uint8Array;
  readonly alg: string | undefined;
}

export interface IdentifiedVerifyAnswer {
  readonly keyId: string;
  readonly alg: string;
  /** Never of a compromised key; otherwise whatever its state, also where its private part is gone. */
  readonly valid: boolean;
}

export interface IdentifiedEncryptRequest extends IdentifiedCall, ApprovableCall {
  /** At most 64 KiB; may be empty. */
  readonly plaintext: Uint8Array;
  /** The key's own, by our name or AES-256-GCM, CHACHA20-POLY1305, any case; one key has one. */
  readonly alg: string | undefined;
  /** Authenticated with it, and not part of it. Empty where none came. */
  readonly aad: Uint8Array;
}

export interface IdentifiedEncryptAnswer {
  readonly keyId: string;
  readonly alg: string;
  /** Made by the engine: 12 bytes, of xaes-256-gcm 24. */
  readonly iv: Uint8Array;
  /** With the tag of 16 bytes at its end. */
  readonly ciphertext: Uint8Array;
}

export interface IdentifiedDecryptRequest extends IdentifiedCall, ApprovableCall {
  readonly iv: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly alg: string | undefined;
  readonly aad: Uint8Array;
}

export interface IdentifiedDecryptAnswer {
  readonly keyId: string;
  readonly alg: string;
  /** A view of the workers' response, not a copy. */
  readonly plaintext: Uint8Array;
}

export interface IdentifiedRotateRequest extends IdentifiedCall, ApprovableCall {
  readonly name: ChangeName | undefined;
}

export interface IdentifiedRotateAnswer {
  readonly oldKeyId: string;
  readonly newKeyId: string;
  readonly alg: string;
  readonly newPublicKeyPem: string | undefined;
  readonly replayed: boolean;
}

export interface RevokeRequest extends IdentifiedCall, ApprovableCall {
  readonly reason: RevocationReason;
}

export interface RevokeAnswer {
  readonly keyId: string;
  /** Of the first call, however often it is repeated. */
  readonly revokedAtMs: number;
}

export interface ArchiveRequest extends IdentifiedCall, ApprovableCall {}

export interface ArchiveAnswer {
  readonly keyId: string;
  readonly archivedAtMs: number;
}

export interface IdentifiedReadRequest extends IdentifiedCall {}

export interface IdentifiedListRequest extends PlacedCall {
  /** The versions of the one key that has it, newest first. */
  readonly alias: string | undefined;
  readonly state: LifecycleState | undefined;
  /** Of an earlier page of the same call; anything else is BadRequest. */
  readonly cursor: string | undefined;
  /** 1 to 1,000, 100 where it is undefined. */
  readonly limit: number | undefined;
}

export interface IdentifiedPage {
  /** In the order of their key_ids, without an alias. A page may be shorter than the limit and still have a successor. */
  readonly keys: readonly KeyMetadata[];
  readonly nextCursor: string | undefined;
}

/** Everything but secrets of one version. */
export interface KeyMetadata {
  readonly keyId: string;
  readonly kid: string;
  readonly tenant: string;
  readonly placement: KeyPlacement;
  readonly alg: string;
  readonly keySizeBits: number;
  readonly usages: readonly Usage[];
  readonly alias: string | undefined;
  readonly state: LifecycleState;
  readonly publicKeyPem: string | undefined;
  /** Of the key as a whole; no change moves it. */
  readonly createdAtMs: number;
  /** Of this version. */
  readonly validFromMs: number;
  readonly validUntilMs: number | undefined;
  /** Of the key as a whole, so far. */
  readonly rotationCount: number;
  readonly rotation: NewRotation | undefined;
  readonly access: KeyAccess | undefined;
  readonly archivedAtMs: number | undefined;
  readonly revoked: { readonly reason: RevocationReason; readonly atMs: number } | undefined;
}
