import type { ReadAnswer, ReadQuestion, RecordsPage } from '../audit/reading/read-thread.ts';
import type { LogKeys } from '../audit/service/key-rotation.ts';
import type { AuditParts } from '../audit/service/parts.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import { operatorTenant } from './admin.ts';
import type { KeyOperation, Step } from './operation.ts';

export const noLog = refuse('Unsupported', 'this service keeps no audit log: KMS_AUDIT=off');

/** The auditor role: an auditor of the operator's tenant sees everything, others what is their tenant's. */
function tenantSeen(caller: Caller): string | undefined {
  return caller.tenant === operatorTenant ? undefined : caller.tenant;
}

function auditOperation<Request, Answer>(
  name: string,
  parts: AuditParts | undefined,
  run: (parts: AuditParts, request: Request, caller: Caller) => Step<Answer>,
): KeyOperation<Request, Answer> {
  return {
    kind: 'keys',
    name,
    scope: 'kms:audit',
    run: (request, caller) => (parts === undefined ? noLog : run(parts, request, caller)),
  };
}

async function bytesOf({ reading }: AuditParts, question: ReadQuestion): Promise<Result<Uint8Array>> {
  const answer = await reading.ask(question);
  if (!answer.ok) return answer;
  return answer.value.found && 'bytes' in answer.value ? ok(answer.value.bytes) : refuse('NotFound');
}

/** The newest signed checkpoint (C2SP tlog-checkpoint). */
export function auditCheckpointOperation(parts: AuditParts | undefined): KeyOperation<void, Uint8Array> {
  return auditOperation('audit_checkpoint', parts, (audit) => bytesOf(audit, { of: 'checkpoint' }));
}

/** A file of the exported log, by its path there. */
export interface TileRequest {
  readonly path: string;
}

/**
 * Tiles and entry bundles (C2SP tlog-tiles), `tile/…`. Bundles hold every tenant's records. And `keys/<n>.tlog-proof` and
 * `.json`: how the log's keys were replaced.
 */
export function auditTileOperation(parts: AuditParts | undefined): KeyOperation<TileRequest, Uint8Array> {
  return auditOperation('audit_tile', parts, (audit, { path }, caller) =>
    path.startsWith('tile/entries/') && tenantSeen(caller) !== undefined
      ? refuse('NoCapability')
      : bytesOf(audit, { of: 'tile', path }),
  );
}

export interface ProofRequest {
  /** The position of a record, from 0. */
  readonly index: number;
}

/** That a record is on the log (C2SP tlog-proof), under the newest checkpoint. */
export function auditProofOperation(parts: AuditParts | undefined): KeyOperation<ProofRequest, Uint8Array> {
  return auditOperation('audit_proof', parts, (audit, { index }, caller) =>
    bytesOf(audit, { of: 'proof', index, tenant: tenantSeen(caller) }),
  );
}

/** With which keys the checkpoints verify. */
export function auditVkeysOperation(parts: AuditParts | undefined): KeyOperation<void, LogKeys> {
  return auditOperation('audit_vkeys', parts, ({ rotation }) => ok(rotation.logKeys()));
}

/** New keys for the checkpoints, which the log announces. Answered when they sign. */
export function auditRotateKeysOperation(parts: AuditParts | undefined): KeyOperation<void, LogKeys> {
  return {
    kind: 'keys',
    name: 'audit_rotate_keys',
    scope: 'kms:admin',
    run(_, { tenant, actor }) {
      if (parts === undefined) return noLog;
      if (tenant !== operatorTenant)
        return refuse('NoCapability', 'only the operator replaces the keys of the log');
      return parts.rotation.rotate(actor);
    },
  };
}

export interface RecordsRequest {
  readonly from: number;
  /** 1 to maxRecords. */
  readonly limit: number;
  /** Only those of calls with this name. */
  readonly opId: string | undefined;
}

/** Of one page. */
export const maxRecords = 1_000;

/** The records themselves, page by page. */
export function auditRecordsOperation(
  parts: AuditParts | undefined,
): KeyOperation<RecordsRequest, RecordsPage> {
  return auditOperation('audit_records', parts, async ({ reading }, request, caller) => {
    const answer = await reading.ask({ of: 'records', ...request, tenant: tenantSeen(caller) });
    return answer.ok ? pageOf(answer.value) : answer;
  });
}

function pageOf(answer: ReadAnswer): Result<RecordsPage> {
  return answer.found && 'page' in answer ? ok(answer.page) : refuse('NotFound');
}
