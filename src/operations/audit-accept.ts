import { type Static, Type } from '@sinclair/typebox';
import type { PendingAcceptance } from '../audit/service/acceptance.ts';
import type { AuditParts } from '../audit/service/parts.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import { operatorTenant } from './admin.ts';
import { noLog } from './audit.ts';
import type { Answer, KeyOperation } from './operation.ts';
import { parseQuery, shapeOf } from './parse.ts';
import { timestamp } from './present.ts';
import { closed } from './schemas.ts';

const acceptRequest = closed({
  /** Of the first approver: why the loss is accepted. */
  reason: Type.Optional(Type.String({ minLength: 1, maxLength: 500, pattern: '^[^\\x00-\\x1f\\x7f]+$' })),
  /** Of the second one: what the first was answered. */
  approval: Type.Optional(Type.String({ pattern: '^[0-9a-f]{16}$', maxLength: 16 })),
});
const acceptShape = shapeOf(acceptRequest);

/**
 * POST /audit/accept: after an integrity failure, two people accept the loss, each with a capability of their own, and a
 * new epoch begins. `{reason}` is answered 202 with an approval that waits; `{approval}` of another actor is answered 200.
 */
export function auditAcceptOperation(
  parts: AuditParts | undefined,
): KeyOperation<Static<typeof acceptRequest>> {
  return {
    kind: 'keys',
    name: 'audit_accept',
    scope: 'kms:admin',
    parse(request) {
      const parsed = acceptShape.parse(request);
      if (!parsed.ok) return parsed;
      const { reason, approval } = parsed.value;
      return (reason === undefined) === (approval === undefined)
        ? refuse('BadRequest', 'give exactly one of reason and approval')
        : parsed;
    },
    run: (request, caller) => forOperator(parts, caller, (audit) => accept(audit, request, caller)),
  };
}

async function accept(
  { acceptance }: AuditParts,
  { reason, approval }: Static<typeof acceptRequest>,
  { actor }: Caller,
): Promise<Result<Answer>> {
  if (reason !== undefined) {
    const proposed = acceptance.propose(reason, actor);
    return proposed.ok
      ? ok({ status: 202, body: { state: 'pending', ...presentPending(proposed.value) } })
      : proposed;
  }
  const confirmed = await acceptance.confirm(approval ?? '', actor);
  return confirmed.ok
    ? ok({ status: 200, body: { state: 'accepted', approvers: confirmed.value } })
    : confirmed;
}

/** GET /audit/accept: the failure, and which approvals wait for a second approver. */
export function auditPendingOperation(parts: AuditParts | undefined): KeyOperation<void> {
  return {
    kind: 'keys',
    name: 'audit_pending',
    scope: 'kms:admin',
    parse({ query }) {
      const parsed = parseQuery(query, []);
      return parsed.ok ? ok(undefined) : parsed;
    },
    run: (_, caller) =>
      forOperator(parts, caller, ({ acceptance }) => {
        const { failure, approvals } = acceptance.pending();
        return ok({
          status: 200,
          body: { failure: failure ?? null, pending: approvals.map(presentPending) },
        });
      }),
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

function presentPending({ approval, failure, reason, approver, expiresAtMs }: PendingAcceptance) {
  return { approval, failure, reason, approver, expires_at: timestamp(expiresAtMs) };
}
