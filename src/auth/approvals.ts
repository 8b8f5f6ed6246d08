import { createHash, hash, timingSafeEqual } from 'node:crypto';
import {
  type ApprovableOperation,
  type Approval,
  type Approvals,
  type ApprovedChange,
  approvableOperations,
} from '../core/approvals.ts';
import type { Clock } from '../core/clock.ts';
import { ownMember } from '../core/own-member.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';

/** A genuine agreement's own words. Nobody has compared them with a change. */
export interface AgreedChange {
  /** Its own alone, so that it can be used once. */
  readonly id: string;
  readonly tenant: string;
  readonly operation: string;
  readonly keyId: string | undefined;
  readonly requestSha256: string | undefined;
  /** A pseudonym, of the same making as that of callers. */
  readonly approver: string;
  /** UTC, milliseconds since 1970. */
  readonly expiresAtMs: number;
}

/** Undefined: the text is no agreement of this form, or is not genuine. */
export type AgreementReader = (text: string) => Promise<AgreedChange | undefined>;

/** The durable account of what may happen once. */
export interface UseLedger {
  /** On disk when it resolves; refuses with Conflict what it has already. */
  enter(entry: {
    readonly tenant: string;
    readonly uses: readonly never[];
    readonly agreed: readonly string[];
    readonly usesEndMs: number;
    readonly agreedEndMs: number;
  }): Promise<Refused | undefined>;
}

export interface ApprovalParts {
  /** One for each form of an agreement, asked in this order. */
  readonly readers: readonly AgreementReader[];
  readonly ledger: UseLedger;
  readonly clock: Pick<Clock, 'utcMs'>;
  readonly timeSkewToleranceMs: number;
  /** Texts that agree to anything, again and again: in development alone. */
  readonly development: readonly string[];
}

/** An agreement is for a change that is made soon. */
export const longestAgreementMs = 3_600_000;
/** A discharge has 4,096 characters at most, and a signed token as many as a header holds. */
const maxCharacters = 8_192;

const needed = refuse(
  'NoCapability',
  'a second principal has to agree: send its approval in X-Approval-Token or approval_token',
);
const notGenuine = refuse('NoCapability', 'the approval does not hold');
const expired = refuse('NoCapability', 'the approval has expired');
const tooLong = refuse('NoCapability', 'an approval lasts an hour at the most');
const forAnother = refuse('NoCapability', 'the approval is for another change');
const ownAgreement = refuse('NoCapability', 'the approval is of the caller itself');
const usedBefore = refuse('NoCapability', 'the approval was used already');

/** The one check for agreements of every form. A change that then fails has used its agreement up. */
export function createApprovals(parts: ApprovalParts): Approvals {
  const standing = parts.development.map(digestOf);
  return {
    async check(approval, change): Promise<Result<Approval>> {
      if (approval === undefined || approval === '') return needed;
      if (approval.length > maxCharacters) return notGenuine;
      if (isAmong(standing, approval)) return ok(developmentApproval);
      for (const read of parts.readers) {
        const agreed = await read(approval);
        if (agreed !== undefined) return use(parts, agreed, change);
      }
      return notGenuine;
    },
  };
}

const developmentApproval: Approval = { approver: 'development', id: 'development' };

async function use(
  { ledger, clock, timeSkewToleranceMs }: ApprovalParts,
  agreed: AgreedChange,
  change: ApprovedChange,
): Promise<Result<Approval>> {
  const utcMs = clock.utcMs();
  // Written so that a time that is not a number refuses.
  if (!(utcMs < agreed.expiresAtMs + timeSkewToleranceMs)) return expired;
  if (!(agreed.expiresAtMs <= utcMs + longestAgreementMs + timeSkewToleranceMs)) return tooLong;
  if (!isFor(agreed, change)) return forAnother;
  if (agreed.approver === change.actor) return ownAgreement;
  const { tenant } = change;
  const name = hash('sha256', JSON.stringify(['approval', agreed.id]));
  const refused = await ledger.enter({
    ...{ tenant, uses: [], agreed: [name], usesEndMs: agreed.expiresAtMs },
    agreedEndMs: agreed.expiresAtMs,
  });
  if (refused !== undefined) return refused.failure.code === 'Conflict' ? usedBefore : refused;
  return ok({ approver: agreed.approver, id: `approval:${name.slice(0, 16)}` });
}

/** All that it names has to be the change's own, and it has to name its key, or where there is none the whole request. */
function isFor(agreed: AgreedChange, { tenant, operation, keyId, requestSha256 }: ApprovedChange): boolean {
  if (agreed.tenant !== tenant || nameOf(agreed.operation) !== nameOf(operation)) return false;
  if (agreed.keyId?.toLowerCase() !== keyId?.toLowerCase()) return false;
  if (agreed.requestSha256 !== undefined) return agreed.requestSha256 === requestSha256;
  return agreed.keyId !== undefined;
}

/** Of an operation in the audit log. */
function nameOf(word: string): string {
  return ownMember<ApprovableOperation>(approvableOperations, word)?.name ?? word;
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** Compares with all of them, in constant time. */
function isAmong(standing: readonly Buffer[], text: string): boolean {
  if (standing.length === 0) return false;
  const digest = digestOf(text);
  let found = false;
  for (const each of standing) found = timingSafeEqual(each, digest) || found;
  return found;
}
