import type { HybridMode } from '../core/hybrid-mode.ts';

/** A call as policy sees it: who asks for what with which key. Plain data. */
export interface PolicyQuestion {
  readonly tenant: string;
  /** Pseudonym of the capability. */
  readonly actor: string;
  /** As in metrics and the audit log: `sign`, `keys.create` … */
  readonly operation: string;
  /** Without `#vN`; empty where the call names no key. */
  readonly kid: string;
  readonly purpose: string;
  /** Canonical name of the algorithm; empty where the call names none. */
  readonly alg: string;
}

export interface Decision {
  readonly allow: boolean;
  /** The weakest hybrid mode that a verification may ask for. */
  readonly mode?: HybridMode;
  readonly limits?: {
    /** Uses of one key in one UTC day. */
    readonly usesPerDay?: number;
  };
  /** For the operator's log and the record; never in an answer. */
  readonly reason?: string;
}

/**
 * Says whether a call that a capability permits may go on. Knows nothing of keys' secrets, and custody knows nothing of it.
 * Never throws and never rejects: what cannot be decided is denied.
 */
export interface Policy {
  decide(question: PolicyQuestion): Decision | Promise<Decision>;
}
