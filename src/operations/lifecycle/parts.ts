import type { Approvals } from '../../core/approvals.ts';
import { usualGraceMs } from '../../keys/lifecycle/states.ts';

/** What holds for keys with a placement. */
export interface LifecycleParts {
  /** Undefined: nobody can agree to anything, so that changes are refused. */
  readonly approvals: Approvals | undefined;
  /** Signatures and encryptions by one key in a day of UTC, where its access has no number of its own. */
  readonly usesPerDay: number;
  /** How long a replaced version is expected to be in use. */
  readonly graceMs: number;
}

/** Where the service says nothing else. */
export const usualLifecycle: LifecycleParts = {
  approvals: undefined,
  usesPerDay: 10_000,
  graceMs: usualGraceMs,
};

/** Days after which keys of these algorithms get a new version, where nothing else is configured. */
export const usualRotationDays: Readonly<Record<string, number>> = {
  'rsa-2048': 90,
  ed25519: 365,
  'aes-256-gcm': 90,
};
