import type { RecordsPage } from '../../../audit/reading/read-thread.ts';
import type { LogKeys } from '../../../audit/service/key-rotation.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import {
  maxRecords,
  type ProofRequest,
  type RecordsRequest,
  type TileRequest,
} from '../../../operations/audit.ts';
import type { Operations } from '../../../operations/operations.ts';
import type { Endpoint, Presented } from '../../dialect.ts';
import { parseNothing, parseQuery } from '../../json-requests.ts';
import { timestamp } from './present.ts';

const text = 'text/plain; charset=utf-8';

function presentBytes(contentType: string): (bytes: Uint8Array) => Presented {
  return (bytes) => ({ status: 200, raw: { contentType, bytes } });
}

/** GET /audit/checkpoint */
export function auditCheckpointEndpoint(operations: Operations): Endpoint<void, Uint8Array> {
  return { operation: operations.audit_checkpoint, parse: parseNothing, present: presentBytes(text) };
}

/** GET /audit/tile/… and /audit/keys/…: files of the exported log. */
export function auditTileEndpoint(operations: Operations): Endpoint<TileRequest, Uint8Array> {
  return {
    operation: operations.audit_tile,
    parse(request) {
      const nothing = parseNothing(request);
      return nothing.ok ? ok({ path: request.named ?? '' }) : nothing;
    },
    present: presentBytes('application/octet-stream'),
    hints: { NoCapability: 'entry bundles hold all tenants’ records: /audit/records has your own' },
  };
}

/** GET /audit/proof?index= */
export function auditProofEndpoint(operations: Operations): Endpoint<ProofRequest, Uint8Array> {
  return {
    operation: operations.audit_proof,
    parse({ query }) {
      const parsed = parseQuery(query, ['index']);
      if (!parsed.ok) return parsed;
      const index = indexOf(parsed.value.index);
      return index === undefined
        ? refuse('BadRequest', 'index: the position of a record, from 0')
        : ok({ index });
    },
    present: presentBytes(text),
  };
}

/** GET /audit/vkeys */
export function auditVkeysEndpoint(operations: Operations): Endpoint<void, LogKeys> {
  return { operation: operations.audit_vkeys, parse: parseNothing, present: presentLogKeys };
}

export function presentLogKeys({ vkeys, replaced }: LogKeys): Presented {
  const body =
    replaced === undefined
      ? { vkeys }
      : { vkeys, replaced: { vkeys: replaced.vkeys, until: timestamp(replaced.untilMs) } };
  return { status: 200, body };
}

/** GET /audit/records?from&limit&op_id */
export function auditRecordsEndpoint(operations: Operations): Endpoint<RecordsRequest, RecordsPage> {
  return {
    operation: operations.audit_records,
    parse: ({ query }) => parseRecordsQuery(query),
    present: ({ records, next }) => ({
      status: 200,
      body: next === undefined ? { records } : { records, next },
    }),
  };
}

function parseRecordsQuery(query: string): Result<RecordsRequest> {
  const parsed = parseQuery(query, ['from', 'limit', 'op_id']);
  if (!parsed.ok) return parsed;
  const from = indexOf(parsed.value.from ?? '0');
  const limit = indexOf(parsed.value.limit ?? '100');
  if (from === undefined) return refuse('BadRequest', 'from: the position of a record, from 0');
  if (limit === undefined || limit < 1 || limit > maxRecords) return refuse('BadRequest', 'limit: 1 to 1000');
  return ok({ from, limit, opId: parsed.value.op_id });
}

/** A position: digits without leading zeros, within 2^53. */
function indexOf(digits: string | undefined): number | undefined {
  const index = digits !== undefined && /^(0|[1-9][0-9]{0,15})$/.test(digits) ? Number(digits) : Number.NaN;
  return Number.isSafeInteger(index) ? index : undefined;
}
