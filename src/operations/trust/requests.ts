import type { AnchorType, TrustAnchor } from '../../trust/anchor-records.ts';
import type { EnrolledCertificate } from '../../trust/enrolled.ts';
import type { ChainPurpose, PathProblem } from '../../trust/path.ts';
import type { AnchorPage } from '../../trust/trust-anchors.ts';

/**
 * Requests and answers of the operations on what is trusted. All of them are refused with NoCapability where the caller is of
 * another tenant, environment or plane than the call, and changes where the agreement of another is missing or does not serve.
 */

/** The place that a call names, which has to be one of the caller's own. */
export interface TrustCall {
  /** The caller's own, or `GLOBAL`: of that everybody reads, and only the operator's administrators change it. */
  readonly tenant: string;
  /** dev, staging or prod. */
  readonly environment: string;
  /** laptop, tenant, product or shared. */
  readonly plane: string;
}

/** A change of what is trusted, which asks for the agreement of another. */
export interface TrustChange extends TrustCall {
  readonly approval: string | undefined;
  /** SHA-256, in hex, of the request's RFC 8785 JSON without the agreement. */
  readonly requestSha256: string | undefined;
  /** The client's own name for the call. */
  readonly opId: string | undefined;
}

export interface AddAnchorRequest extends TrustChange {
  /** DER or PEM, of one certificate. */
  readonly certificate: Uint8Array;
  readonly type: AnchorType;
  /**
   * The planes of the call's environment on which it is trusted, each one of the caller's own; the call's where it is undefined.
   * Of GLOBAL it holds in every environment, so the caller has to be of all, and on all planes of the caller where it is undefined.
   * The same certificate again is trusted on these too.
   */
  readonly planes: readonly string[] | 'all' | undefined;
  /** The kid or key_id of a key of the caller's tenant, whose public key the certificate must have: it enrols. */
  readonly caKid: string | undefined;
}

export interface AddedAnchor {
  readonly anchor: TrustAnchor;
  /** The certificate was an anchor before. */
  readonly known: boolean;
}

/** Those that are trusted in the place of the call. */
export interface ListAnchorsRequest extends TrustCall {
  readonly cursor: string | undefined;
  /** 1 to 1,000; 100 where it is undefined. */
  readonly limit: number | undefined;
}

/** The caller's own first, then those of GLOBAL: all by which its chains are validated. */
export type ListedAnchors = AnchorPage;

export interface ReadAnchorRequest extends TrustCall {
  readonly id: string;
}

/** Ends the trust in the caller's own places; in others it stays. */
export interface RemoveAnchorRequest extends TrustChange {
  readonly id: string;
}

export interface RevocationListRequest extends TrustChange {
  /** Of the anchor that has signed the list. */
  readonly id: string;
  /** DER or PEM. */
  readonly list: Uint8Array;
}

export interface ValidateChainRequest extends TrustCall {
  /** The certificate that is asked about, then those between, in any order. Each DER, or PEM with one or more; 16 in all. */
  readonly chain: readonly Uint8Array[];
  /** Undefined: any. */
  readonly purpose: ChainPurpose | undefined;
  /** UTC, milliseconds since 1970; now where it is undefined. */
  readonly atMs: number | undefined;
}

export interface ChainVerdict {
  readonly valid: boolean;
  /** Why not. */
  readonly problem: PathProblem | undefined;
  /** The place of the certificate that is at fault, 0 for the one that was asked about. */
  readonly depth: number | undefined;
  /** From the one that was asked about to the anchor: SHA-256 of each certificate, in hex. Empty where it is not valid. */
  readonly path: readonly string[];
  readonly anchorId: string | undefined;
  /** A list in force says of every certificate but the anchor that it is not revoked. */
  readonly revocationChecked: boolean;
  readonly atMs: number;
}

export interface EnrolRequest extends TrustChange {
  /** PKCS #10 (RFC 2986), DER or PEM. */
  readonly csr: Uint8Array;
  /** An anchor of the caller's tenant whose private key is managed here. */
  readonly anchorId: string;
  /** A kid or key_id. Undefined: the key that the anchor was joined to, or the one of this tenant that has its public key. */
  readonly caKid: string | undefined;
  /** 1 to 397; 90 where it is undefined, and then not beyond the anchor's own end. */
  readonly validDays: number | undefined;
}

export interface EnrolAnswer {
  readonly certificate: EnrolledCertificate;
  /** Of the anchor. */
  readonly issuerDer: Uint8Array;
}

export interface ListEnrolledRequest extends TrustCall {
  readonly cursor: string | undefined;
  /** 1 to 1,000; 100 where it is undefined. */
  readonly limit: number | undefined;
}
