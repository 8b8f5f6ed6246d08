import type { PendingAcceptance } from '../audit/service/acceptance.ts';
import type { AuditParts } from '../audit/service/parts.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import { operatorTenant } from './admin.ts';
import { noLog } from './audit.ts';
import type { KeyOperation } from './operation.ts';

export type AcceptRequest =
  /** Of the first approver: why the loss is accepted. */
  | { readonly reason: string }
  /** Of the second one: what the first was answered. */
  | { readonly approval: string };

export type AcceptAnswer =
  | { readonly state: 'pending'; readonly pending: PendingAcceptance }
  | { readonly state: 'accepted'; readonly approvers: readonly string[] };

/**
 * After an integrity failure, two people accept the loss, each with a capability of their own, and a new epoch begins. The
 * first one's approval waits for the second one's.
 */
export function auditAcceptOperation(
  parts: AuditParts | undefined,
): KeyOperation<AcceptRequest, AcceptAnswer> {
  return {
    kind: 'keys',
    name: 'audit_accept',
    scope: 'kms:admin',
    run: (request, caller) => forOperator(parts, caller, (audit) => accept(audit, request, caller)),
  };
}

async function accept(
  { acceptance }: AuditParts,
  request: AcceptRequest,
  { actor }: Caller,
): Promise<Result<AcceptAnswer>> {
  if ('reason' in request) {
    const proposed = acceptance.propose(request.reason, actor);
    return proposed.ok ? ok({ state: 'pending', pending: proposed.value }) : proposed;
  }
  const confirmed = await acceptance.confirm(request.approval, actor);
  return confirmed.ok ? ok({ state: 'accepted', approvers: confirmed.value }) : confirmed;
}

export interface PendingAnswer {
  /** The integrity failure that nobody has accepted yet, as the log describes it. */
  readonly failure: string | undefined;
  readonly approvals: readonly PendingAcceptance[];
}

/** The failure, and which approvals wait for a second approver. */
export function auditPendingOperation(parts: AuditParts | undefined): KeyOperation<void, PendingAnswer> {
  return {
    kind: 'keys',
    name: 'audit_pending',
    scope: 'kms:admin',
    run: (_, caller) => forOperator(parts, caller, ({ acceptance }) => ok(acceptance.pending())),
  };
}

function forOperator<T>(
  parts: AuditParts | undefined,
  { tenant }: Caller,
  run: (parts: AuditParts) => T,
): T | ReturnType<typeof refuse> {
  if (parts === undefined) return noLog;
  return tenant === operatorTenant
    ? run(parts)
    : refuse('NoCapability', 'only the operator accepts a loss of the log');
}
