import { type Static, Type } from '@sinclair/typebox';
import type { PendingAcceptance } from '../../../audit/service/acceptance.ts';
import type { LogKeys } from '../../../audit/service/key-rotation.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import type { LoadReport } from '../../../observe/load.ts';
import type { RootKeyReport } from '../../../operations/admin.ts';
import type { AcceptAnswer, AcceptRequest, PendingAnswer } from '../../../operations/audit-accept.ts';
import type { Operations } from '../../../operations/operations.ts';
import type { Endpoint } from '../../dialect.ts';
import { closed, parseNothing, shapeOf, typed } from '../../json-requests.ts';
import { presentLogKeys } from './audit.ts';
import { timestamp } from './present.ts';

/** GET /admin/load. The report is named as it is shown. */
export function loadEndpoint({ load }: Operations): Endpoint<void, LoadReport> {
  return { operation: load, parse: parseNothing, present: (report) => ({ status: 200, body: report }) };
}

/** GET /admin/root */
export function rootEndpoint({ root }: Operations): Endpoint<void, RootKeyReport> {
  return {
    operation: root,
    parse: parseNothing,
    present: (report) => ({ status: 200, body: presentRoot(report) }),
  };
}

/** POST /admin/root/rotate, with an empty object: answered 202 when it has begun. */
export function rotateRootEndpoint(operations: Operations): Endpoint<void, RootKeyReport> {
  return {
    operation: operations.root_rotate,
    parse: typed(shapeOf(closed({})), () => ok(undefined)),
    present: (report) => ({ status: 202, body: presentRoot(report) }),
  };
}

function presentRoot({ generation, root, rotatedAtMs, rotation, sources, opened }: RootKeyReport) {
  return {
    ...{ generation, root },
    ...(rotatedAtMs === undefined ? undefined : { rotated_at: timestamp(rotatedAtMs) }),
    ...{ opened_by: opened, sources: sources.map(({ id, kind, place }) => ({ id, kind, place })) },
    ...(rotation === undefined
      ? undefined
      : {
          rotation: {
            ...{ generation: rotation.generation, started_at: timestamp(rotation.startedAtMs) },
            ...{ done: rotation.done, total: rotation.total },
          },
        }),
  };
}

/** POST /audit/rotate-keys, with an empty object. */
export function auditRotateKeysEndpoint(operations: Operations): Endpoint<void, LogKeys> {
  return {
    operation: operations.audit_rotate_keys,
    parse: typed(shapeOf(closed({})), () => ok(undefined)),
    present: presentLogKeys,
  };
}

export const acceptBody = closed({
  reason: Type.Optional(Type.String({ minLength: 1, maxLength: 500, pattern: '^[^\\x00-\\x1f\\x7f]+$' })),
  approval: Type.Optional(Type.String({ pattern: '^[0-9a-f]{16}$', maxLength: 16 })),
});

function acceptRequestOf({ reason, approval }: Static<typeof acceptBody>): Result<AcceptRequest> {
  if (reason !== undefined && approval === undefined) return ok({ reason });
  if (approval !== undefined && reason === undefined) return ok({ approval });
  return refuse('BadRequest', 'give exactly one of reason and approval');
}

/** POST /audit/accept: `{reason}` is answered 202 with an approval that waits; `{approval}` of another actor is answered 200. */
export function auditAcceptEndpoint(operations: Operations): Endpoint<AcceptRequest, AcceptAnswer> {
  return {
    operation: operations.audit_accept,
    parse: typed(shapeOf(acceptBody), acceptRequestOf),
    present: (answer) =>
      answer.state === 'pending'
        ? { status: 202, body: { state: 'pending', ...presentPending(answer.pending) } }
        : { status: 200, body: { state: 'accepted', approvers: answer.approvers } },
  };
}

/** GET /audit/accept */
export function auditPendingEndpoint(operations: Operations): Endpoint<void, PendingAnswer> {
  return {
    operation: operations.audit_pending,
    parse: parseNothing,
    present: ({ failure, approvals }) => ({
      status: 200,
      body: { failure: failure ?? null, pending: approvals.map(presentPending) },
    }),
  };
}

function presentPending({ approval, failure, reason, approver, expiresAtMs }: PendingAcceptance) {
  return { approval, failure, reason, approver, expires_at: timestamp(expiresAtMs) };
}
