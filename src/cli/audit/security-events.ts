import { type AuditRecord, logKeyId, parseRecord } from '../../audit/format/record.ts';
import { manifest } from '../../core/own-package.ts';

/**
 * Records as security monitoring takes them, one line each:
 *   jsonl  the record as it is on the log, in an object with its place: { "index", "origin", "record" }
 *   cef    ArcSight Common Event Format, CEF:0
 *   ocsf   Open Cybersecurity Schema Framework 1.3.0, class API Activity (6003)
 */
export const eventFormats = ['jsonl', 'cef', 'ocsf'] as const;
export type EventFormat = (typeof eventFormats)[number];

/** The place of a record: the log's origin, and its index there. Both together name it for good. */
export interface Place {
  readonly origin: string;
  readonly index: number;
}

/** One line without its line feed; undefined where the entry is no record. */
export function formatEvent(format: EventFormat, entry: Uint8Array, place: Place): string | undefined {
  const record = parseRecord(entry);
  if (record === undefined) return undefined;
  switch (format) {
    case 'jsonl':
      // The record's own bytes, so that it still hashes to its leaf.
      return `{"index":${place.index},"origin":${JSON.stringify(place.origin)},"record":${Buffer.from(entry).toString('utf8')}}`;
    case 'cef':
      return cefOf(record, place);
    case 'ocsf':
      return JSON.stringify(ocsfOf(record, place));
  }
}

/** OCSF's severity_id, and CEF's severity of the same weight. */
const severities = {
  informational: { ocsf: 1, cef: 1 },
  low: { ocsf: 2, cef: 3 },
  medium: { ocsf: 3, cef: 5 },
  high: { ocsf: 4, cef: 8 },
} as const;

/** Records of the log about itself and its store that want a person. */
const alarming: ReadonlySet<string> = new Set([
  'root.approved',
  'store.accepted',
  'store.restored',
  'store.sealed',
  'integrity',
  'recovery',
  'write_failed',
  'sync_failed',
  'disk_full',
]);

function severityOf({ type = '', result }: AuditRecord): (typeof severities)[keyof typeof severities] {
  if (type === 'integrity') return severities.high;
  if (alarming.has(type) || result.startsWith('error:')) return severities.medium;
  return result === 'ok' ? severities.informational : severities.low;
}

function actionOf({ type, purpose }: AuditRecord): string {
  return type ?? purpose;
}

function cefOf(record: AuditRecord, { origin, index }: Place): string {
  const action = actionOf(record);
  const header = ['Intaglio', 'Intaglio', manifest.version, action, `${action} ${record.result}`];
  const extension: [string, string | number][] = [
    ['rt', Math.floor(record.ts / 1000)],
    ['externalId', `${origin}#${index}`],
    ['act', action],
    ['outcome', record.result],
    ['suser', record.actor],
    ...labelled('cs', 1, 'keyId', record.key_id),
    ...labelled('cs', 2, 'tenant', record.tenant),
    ...labelled('cs', 3, 'algorithm', record.alg),
    ...labelled('cs', 4, 'operationId', record.op_id),
    ...labelled('cs', 5, 'inputHash', record.input_hash),
    ...labelled('cn', 1, 'keyVersion', record.key_version),
    ...labelled('cn', 2, 'sequence', record.seq),
    ...(record.data === undefined ? [] : labelled('cs', 6, 'data', JSON.stringify(record.data))),
  ];
  const fields = extension
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name}=${escaped(String(value), /[\\=]/g)}`);
  const start = header.map((part) => escaped(part, /[\\|]/g)).join('|');
  return `CEF:0|${start}|${severityOf(record).cef}|${fields.join(' ')}`;
}

/** CEF names its free fields by a second one: cs1 and cs1Label. */
function labelled(
  kind: 'cs' | 'cn',
  number: number,
  label: string,
  value: string | number,
): [string, string | number][] {
  return value === ''
    ? []
    : [
        [`${kind}${number}`, value],
        [`${kind}${number}Label`, label],
      ];
}

function escaped(text: string, special: RegExp): string {
  return text.replace(special, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r');
}

const other = 99;
/** OCSF's activity_id of class 6003. */
const activities: Readonly<Record<string, number>> = {
  'key.create': 1,
  ...{ 'read-key': 2, 'list-keys': 2, read: 2, verify: 2, 'mac-verify': 2 },
  'key.rotate': 3,
  'key.destroy': 4,
};

function ocsfOf(record: AuditRecord, { origin, index }: Place): object {
  const { actor, alg, data, input_hash, key_id, key_version, op_id, result, seq, tenant, ts } = record;
  const action = actionOf(record);
  const activity = activities[action] ?? other;
  const done = result === 'ok';
  const timeMs = Math.floor(ts / 1000);
  return {
    activity_id: activity,
    activity_name: action,
    category_uid: 6,
    category_name: 'Application Activity',
    class_uid: 6003,
    class_name: 'API Activity',
    type_uid: 600_300 + activity,
    severity_id: severityOf(record).ocsf,
    time: timeMs,
    status_id: done ? 1 : 2,
    status: done ? 'Success' : 'Failure',
    ...(done ? undefined : { status_code: result }),
    metadata: {
      version: '1.3.0',
      product: { name: 'Intaglio', vendor_name: 'Intaglio', version: manifest.version },
      log_name: origin,
      sequence: index,
      uid: `${origin}#${index}`,
      ...(op_id === '' ? undefined : { correlation_uid: op_id }),
      ...(tenant === '' ? undefined : { tenant_uid: tenant }),
    },
    api: {
      operation: action,
      service: { name: 'intaglio' },
      ...(op_id === '' ? undefined : { request: { uid: op_id } }),
    },
    // The log names callers by what they proved, and no addresses.
    actor: { user: { uid: key_id === logKeyId ? 'intaglio' : actor } },
    src_endpoint: { name: key_id === logKeyId ? 'intaglio' : 'client' },
    resources: [
      { uid: key_id, type: key_id === logKeyId ? 'audit log' : 'key', version: String(key_version) },
    ],
    unmapped: {
      algorithm: alg,
      input_hash,
      sequence_of_key: seq,
      ...(data === undefined ? undefined : { data }),
    },
  };
}
