import type { Result } from './result.ts';
import type { Scope } from './scope.ts';

/** What a second principal can agree to, by the words of approvals. */
export const approvableOperations = {
  generate: { name: 'lifecycle_generate', scope: 'kms:create' },
  rotate: { name: 'lifecycle_rotate', scope: 'kms:rotate' },
  revoke: { name: 'lifecycle_revoke', scope: 'kms:destroy' },
  archive: { name: 'lifecycle_archive', scope: 'kms:destroy' },
  // Of keys whose own access asks for it.
  sign: { name: 'lifecycle_sign', scope: 'kms:sign' },
  encrypt: { name: 'lifecycle_encrypt', scope: 'kms:encrypt' },
  decrypt: { name: 'lifecycle_decrypt', scope: 'kms:decrypt' },
  trust_anchor: { name: 'trust_anchor_add', scope: 'kms:admin' },
  trust_anchor_remove: { name: 'trust_anchor_remove', scope: 'kms:admin' },
  trust_anchor_crl: { name: 'trust_anchor_crl', scope: 'kms:admin' },
  certificate: { name: 'certificate_enrol', scope: 'kms:admin' },
  webhook: { name: 'webhook_add', scope: 'kms:admin' },
  webhook_remove: { name: 'webhook_remove', scope: 'kms:admin' },
} as const satisfies Readonly<Record<string, ApprovableOperation>>;

export interface ApprovableOperation {
  /** In the audit log. */
  readonly name: string;
  /** The scope that the change needs, and its approver too. */
  readonly scope: Scope;
}

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
  /** Its name in the audit log, or its word above. */
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
