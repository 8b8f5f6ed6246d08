import { randomBytes } from 'node:crypto';
import type { Clock } from '../../core/clock.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Acceptance, AuditLog } from '../audit-log.ts';

/** An acceptance that one approver has asked for, and another has not confirmed yet. */
export interface PendingAcceptance {
  /** The name by which the second approver refers to it: 16 hexadecimal digits. Not a secret. */
  readonly approval: string;
  readonly reason: string;
  /** Pseudonym of the capability that asked. */
  readonly approver: string;
  /** The integrity failure that it is about, as the log describes it. */
  readonly failure: string;
  /** UTC, milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/** Acceptance of an integrity failure by two people, each with a capability of their own. */
export interface TwoPersonAcceptance {
  /** The first of the two. Conflict: there is no failure. A second request of one approver takes the place of the first. */
  propose(reason: string, approver: string): Result<PendingAcceptance>;
  /**
   * The second of the two: the next epoch begins. NotFound: no such approval is pending for this failure.
   * PolicyViolation: the approver is the one who asked. The approvers, in the order in which they agreed.
   */
  confirm(approval: string, approver: string): Promise<Result<readonly string[]>>;
  pending(): { readonly failure: string | undefined; readonly approvals: readonly PendingAcceptance[] };
}

/** Long enough to call a colleague and to show what was found; short enough that none lies about forgotten. */
export const acceptanceLifetimeMs = 15 * 60_000;

/** As many administrators as would look at one failure at a time. */
export const maxPendingAcceptances = 16;

interface Entry {
  readonly acceptance: PendingAcceptance;
  /** The failure that it is about: the process counts them. */
  readonly failureNumber: number;
  readonly expiresAtMs: number;
}

/**
 * Approvals are kept in memory: a restart looks at the log anew, and what was agreed about the failure before it says
 * nothing of the one after it. `execute` begins the next epoch.
 */
export function createTwoPersonAcceptance(
  log: Pick<AuditLog, 'state' | 'reason' | 'stats'>,
  execute: (acceptance: Acceptance) => Promise<Result<void>>,
  clock: Clock,
): TwoPersonAcceptance {
  const entries = new Map<string, Entry>();
  let executing = false;

  const failure = () =>
    log.state === 'integrity_failed' && !executing
      ? { number: log.stats().integrityFailures, text: log.reason ?? 'integrity failure' }
      : undefined;

  /** The failure that can be accepted now; approvals of others, and old ones, are gone after this. */
  const current = () => {
    const now = clock.monotonicMs();
    const found = failure();
    for (const [approval, { failureNumber, expiresAtMs }] of entries) {
      if (failureNumber !== found?.number || expiresAtMs <= now) entries.delete(approval);
    }
    return found;
  };

  return {
    propose(reason, approver) {
      const found = current();
      if (found === undefined) return nothingToAccept;
      for (const [approval, { acceptance }] of entries) {
        if (acceptance.approver === approver) entries.delete(approval);
      }
      const [oldest] = entries.values();
      if (oldest !== undefined && entries.size >= maxPendingAcceptances) {
        const retryAfterMs = oldest.expiresAtMs - clock.monotonicMs();
        return refuse('Backpressure', 'too many approvals wait for a second approver', retryAfterMs);
      }
      const acceptance = {
        approval: randomBytes(8).toString('hex'),
        reason,
        approver,
        failure: found.text,
        expiresAtMs: clock.utcMs() + acceptanceLifetimeMs,
      };
      const expiresAtMs = clock.monotonicMs() + acceptanceLifetimeMs;
      entries.set(acceptance.approval, { acceptance, failureNumber: found.number, expiresAtMs });
      return ok(acceptance);
    },

    async confirm(approval, approver) {
      if (current() === undefined) return nothingToAccept;
      const first = entries.get(approval)?.acceptance;
      if (first === undefined)
        return refuse('NotFound', 'no such approval waits: ask for what is pending, or begin anew');
      if (first.approver === approver)
        return refuse('PolicyViolation', 'another person than the one who asked has to confirm');
      entries.clear();
      executing = true;
      try {
        const approvers = [first.approver, approver];
        const done = await execute({ reason: first.reason, approvers });
        return done.ok ? ok(approvers) : done;
      } finally {
        executing = false;
      }
    },

    pending() {
      const found = current();
      return { failure: found?.text, approvals: [...entries.values()].map(({ acceptance }) => acceptance) };
    },
  };
}

const nothingToAccept = refuse('Conflict', 'there is no integrity failure to accept');
