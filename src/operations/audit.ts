import type { ReadAnswer, ReadQuestion } from '../audit/reading/read-thread.ts';
import type { LogKeys } from '../audit/service/key-rotation.ts';
import type { AuditParts } from '../audit/service/parts.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import { operatorTenant } from './admin.ts';
import type { Answer, KeyOperation } from './operation.ts';
import { parseQuery, shapeOf } from './parse.ts';
import { timestamp } from './present.ts';
import { closed } from './schemas.ts';

export const noLog = refuse('Unsupported', 'this service keeps no audit log: KMS_AUDIT=off');

const noMembers = shapeOf(closed({}));

/** The auditor role: an auditor of the operator's tenant sees everything, others what is their tenant's. */
function tenantSeen(caller: Caller): string | undefined {
  return caller.tenant === operatorTenant ? undefined : caller.tenant;
}

function auditOperation<Input>(
  name: string,
  parts: AuditParts | undefined,
  parse: (request: { readonly query: string; readonly rest: string | undefined }) => Result<Input>,
  run: (parts: AuditParts, input: Input, caller: Caller) => Promise<Result<Answer>> | Result<Answer>,
): KeyOperation<Input> {
  return {
    kind: 'keys',
    name,
    scope: 'kms:audit',
    parse: ({ query, kid }) => parse({ query, rest: kid }),
    run: (input, caller) => (parts === undefined ? noLog : run(parts, input, caller)),
  };
}

const noQuery = ({ query }: { readonly query: string }): Result<void> => {
  const parsed = parseQuery(query, []);
  return parsed.ok ? ok(undefined) : parsed;
};

async function bytesOf(
  { reading }: AuditParts,
  question: ReadQuestion,
  contentType: string,
): Promise<Result<Answer>> {
  const answer = await reading.ask(question);
  if (!answer.ok) return answer;
  if (!answer.value.found || !('bytes' in answer.value)) return refuse('NotFound');
  return ok({ status: 200, raw: { contentType, bytes: answer.value.bytes } });
}

/** GET /audit/checkpoint: the newest signed checkpoint (C2SP tlog-checkpoint). */
export function auditCheckpointOperation(parts: AuditParts | undefined): KeyOperation<void> {
  return auditOperation('audit_checkpoint', parts, noQuery, (audit) =>
    bytesOf(audit, { of: 'checkpoint' }, 'text/plain; charset=utf-8'),
  );
}

/**
 * GET /audit/tile/…: tiles and entry bundles (C2SP tlog-tiles). Bundles hold every tenant's records. And GET
 * /audit/keys/<n>.tlog-proof and .json: how the log's keys were replaced.
 */
export function auditTileOperation(parts: AuditParts | undefined): KeyOperation<string> {
  return auditOperation(
    'audit_tile',
    parts,
    ({ query, rest }) => {
      const parsed = parseQuery(query, []);
      return parsed.ok ? ok(rest ?? '') : parsed;
    },
    (audit, path, caller) =>
      path.startsWith('tile/entries/') && tenantSeen(caller) !== undefined
        ? refuse('NoCapability', 'entry bundles hold all tenants’ records: /audit/records has your own')
        : bytesOf(audit, { of: 'tile', path }, 'application/octet-stream'),
  );
}

/** GET /audit/proof?index=: that a record is on the log (C2SP tlog-proof), under the newest checkpoint. */
export function auditProofOperation(parts: AuditParts | undefined): KeyOperation<number> {
  return auditOperation(
    'audit_proof',
    parts,
    ({ query }) => {
      const parsed = parseQuery(query, ['index']);
      if (!parsed.ok) return parsed;
      const index = indexOf(parsed.value.index);
      return index === undefined
        ? refuse('BadRequest', 'index: the position of a record, from 0')
        : ok(index);
    },
    (audit, index, caller) =>
      bytesOf(audit, { of: 'proof', index, tenant: tenantSeen(caller) }, 'text/plain; charset=utf-8'),
  );
}

/** GET /audit/vkeys: with which keys the checkpoints verify. */
export function auditVkeysOperation(parts: AuditParts | undefined): KeyOperation<void> {
  return auditOperation('audit_vkeys', parts, noQuery, ({ rotation }) =>
    ok({ status: 200, body: presentLogKeys(rotation.logKeys()) }),
  );
}

function presentLogKeys({ vkeys, replaced }: LogKeys) {
  return replaced === undefined
    ? { vkeys }
    : { vkeys, replaced: { vkeys: replaced.vkeys, until: timestamp(replaced.untilMs) } };
}

/** POST /audit/rotate-keys: new keys for the checkpoints, which the log announces. Answered when they sign. */
export function auditRotateKeysOperation(parts: AuditParts | undefined): KeyOperation<unknown> {
  return {
    kind: 'keys',
    name: 'audit_rotate_keys',
    scope: 'kms:admin',
    parse: (request) => noMembers.parse(request),
    async run(_, caller) {
      if (parts === undefined) return noLog;
      if (caller.tenant !== operatorTenant)
        return refuse('NoCapability', 'only the operator replaces the keys of the log');
      const rotated = await parts.rotation.rotate(caller.actor);
      return rotated.ok ? ok({ status: 200, body: presentLogKeys(rotated.value) }) : rotated;
    },
  };
}

interface RecordsQuery {
  readonly from: number;
  readonly limit: number;
  readonly opId: string | undefined;
}

const maxRecords = 1_000;

/** GET /audit/records?from&limit&op_id: the records themselves, page by page. */
export function auditRecordsOperation(parts: AuditParts | undefined): KeyOperation<RecordsQuery> {
  return auditOperation(
    'audit_records',
    parts,
    ({ query }) => parseRecordsQuery(query),
    async ({ reading }, { from, limit, opId }, caller) => {
      const answer = await reading.ask({ of: 'records', from, limit, opId, tenant: tenantSeen(caller) });
      return answer.ok ? presentPage(answer.value) : answer;
    },
  );
}

function parseRecordsQuery(query: string): Result<RecordsQuery> {
  const parsed = parseQuery(query, ['from', 'limit', 'op_id']);
  if (!parsed.ok) return parsed;
  const from = indexOf(parsed.value.from ?? '0');
  const limit = indexOf(parsed.value.limit ?? '100');
  if (from === undefined) return refuse('BadRequest', 'from: the position of a record, from 0');
  if (limit === undefined || limit < 1 || limit > maxRecords) return refuse('BadRequest', 'limit: 1 to 1000');
  return ok({ from, limit, opId: parsed.value.op_id });
}

function presentPage(answer: ReadAnswer): Result<Answer> {
  if (!answer.found || !('page' in answer)) return refuse('NotFound');
  const { records, next } = answer.page;
  return ok({ status: 200, body: next === undefined ? { records } : { records, next } });
}

/** A position: digits without leading zeros, within 2^53. */
function indexOf(text: string | undefined): number | undefined {
  const index = text !== undefined && /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(index) ? index : undefined;
}
