import { chunkLeaves } from '../disk/layout.ts';
import type { AuditRecord } from '../format/record.ts';
import type { LogReader } from './log-reader.ts';
import type { CallsQuestion, RecordsPage } from './read-thread.ts';

/** Between two looks at the clock, as for other questions. */
const stepLeaves = 8 * chunkLeaves;

/**
 * Records of calls that have receipts, the newest first. There is no index: they are looked for from `before` on backwards, step by
 * step, and at least in one; `next` is where the next call goes on.
 */
export function findCalls(reader: LogReader, question: CallsQuestion, ends: () => boolean): RecordsPage {
  const { limit, from = 0, sinceUs = 0 } = question;
  const found: { index: number; record: AuditRecord }[] = [];
  const first = Math.max(from, reader.minimumIndex);
  const containing = bytesOf(question);
  let at = Math.min(question.before ?? reader.size, endOf(reader, question));
  while (at > first) {
    const start = Math.max(first, Math.floor((at - 1) / stepLeaves) * stepLeaves);
    const step = [...reader.records(start, at, containing)].filter(({ record }) => fits(record, question));
    for (const { index, record } of step.reverse()) {
      found.push({ index, record });
      if (found.length === limit) return { records: found, next: index > first ? index : undefined };
    }
    at = start;
    // Of times that only grow, what lies before is older still.
    if (sinceUs > 0 && at > first && (reader.record(at)?.ts ?? sinceUs) < sinceUs)
      return { records: found, next: undefined };
    if (ends()) break;
  }
  return { records: found, next: at > first ? at : undefined };
}

/** True of a record that says for whom the call was, as the records of calls with receipts do. */
function fits({ type, tenant, ts, purpose, data }: AuditRecord, question: CallsQuestion): boolean {
  if (type !== undefined || tenant !== question.tenant || typeof data?.module !== 'string') return false;
  const {
    keyId,
    operations,
    environments,
    planes,
    sinceUs = 0,
    untilUs = Number.POSITIVE_INFINITY,
  } = question;
  return (
    ts >= sinceUs &&
    ts <= untilUs &&
    (keyId === undefined || data.key_id === keyId) &&
    (operations === undefined || operations.includes(purpose)) &&
    isAmong(data.environment, environments) &&
    isAmong(data.plane, planes)
  );
}

/** A call that names no place is its tenant's as a whole. */
function isAmong(place: string | number | undefined, places: readonly string[] | undefined): boolean {
  return place === undefined || places === undefined || places.includes(String(place));
}

/** As it stands in the record (RFC 8785): bundles without it are passed over whole. */
function bytesOf({ tenant, keyId }: CallsQuestion): Buffer {
  return Buffer.from(
    keyId === undefined ? `"tenant":${JSON.stringify(tenant)}` : `"key_id":${JSON.stringify(keyId)}`,
  );
}

/** The index behind the last record that is old enough. Times never go back from record to record. */
function endOf(reader: LogReader, { untilUs }: CallsQuestion): number {
  if (untilUs === undefined) return reader.size;
  let [low, high] = [reader.minimumIndex, reader.size];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const ts = reader.record(middle)?.ts;
    // One that cannot be read says nothing: everything is looked through.
    if (ts === undefined) return reader.size;
    if (ts > untilUs) high = middle;
    else low = middle + 1;
  }
  return low;
}
