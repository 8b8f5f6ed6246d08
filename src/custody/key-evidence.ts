import type { Result } from '../core/result.ts';
import type { KeyHandle } from '../keys/keyring.ts';

/**
 * General JWS JSON Serialization (RFC 7515 section 7.2.1). With each signature, protected header, payload and signature joined
 * by dots are a JWT of their own.
 */
export interface GeneralJws {
  readonly payload: string;
  readonly signatures: readonly { readonly protected: string; readonly signature: string }[];
}

/** Evidence of the residence of one version of a key. */
export interface SignedEvidence {
  /** Versioned. */
  readonly kid: string;
  /** The backend whose word it is: that which signs in the place of the key's own, where that is away. */
  readonly backend: string;
  /** The attestation class of the key's custody. */
  readonly class: string;
  /** Of the claims, the bytes that `jws.payload` has in base64url; in hex, as records of the audit log have it. */
  readonly sha256: string;
  readonly jws: GeneralJws;
}

/** A key, as whoever uses it has found it. */
export type AttestedKey = Pick<KeyHandle, 'head' | 'algorithm' | 'version'>;

/** Whoever gives evidence. AttestationMissing: there is none. StoreUnavailable: the backend of the key is away. */
export interface EvidenceSource {
  /** New evidence with the caller's nonce, which is kept nowhere. */
  attest(key: AttestedKey, nonce: string): Promise<Result<SignedEvidence>>;
  /** Evidence without a nonce: at once where some is kept, which is renewed in the background. */
  evidence(key: AttestedKey): Result<SignedEvidence> | Promise<Result<SignedEvidence>>;
  /** The evidence that is kept, while it can be handed out: a look-up. */
  kept(key: AttestedKey): SignedEvidence | undefined;
}
