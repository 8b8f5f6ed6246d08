import type { Result } from './result.ts';

/** The agreement of a second principal to one change, as it was used. */
export interface Approval {
  /** The one who agreed; never the caller. */
  readonly approver: string;
  /** Of the agreement, for the audit log; nothing of its text. */
  readonly id: string;
}

/** One change that asks for an agreement. An agreement for another one does not serve. */
export interface ApprovedChange {
  readonly tenant: string;
  /** Its name in the audit log. */
  readonly operation: string;
  /** The one who asks for the change, who cannot agree to it. */
  readonly actor: string;
  readonly keyId?: string;
  /** SHA-256, in hex, of the request's RFC 8785 JSON without the agreement: where there is no key yet. */
  readonly requestSha256?: string;
}

/** Dual authorization: the one check for agreements of every form. */
export interface Approvals {
  /** Uses the agreement up, durably, so that it serves once. Refuses one that is missing, used, expired or for something else. */
  check(approval: string | undefined, change: ApprovedChange): Promise<Result<Approval>>;
}
