import { ok, type Result, refuse } from '../core/result.ts';
import { type PublishedEvent, publishedEventOf } from '../events/published-events.ts';
import type { AuditEvent, AuditLog } from './audit-log.ts';
import type { AuditRecord } from './format/record.ts';
import { toldEvent } from './publishing.ts';
import type { AuditReading } from './reading/read-thread.ts';

/** Events of a tenant, as the log tells them. */
export interface HistoryPage {
  readonly events: readonly { readonly index: number; readonly event: PublishedEvent }[];
  /** Everything before this index was looked at. */
  readonly next: number;
}

/**
 * What has happened, from the log: for whoever was away. Only what lies under a checkpoint is told. It cannot be lost any more, and of
 * the changes of keys in it the store has every one, unless a second record says that one failed.
 */
export interface EventHistory {
  /** The index behind the last record that can be told. It grows within a second or so. */
  readonly end: number;
  /** The index behind the newest record. */
  readonly size: number;
  /** From this index on. A page may be empty and still not be the last one: that ends at `end`. */
  page(tenant: string, from: number): Promise<Result<HistoryPage>>;
}

const recordsOfPage = 500;

interface Found {
  readonly index: number;
  readonly record: AuditRecord;
}

export function createEventHistory(
  log: Pick<AuditLog, 'checkpoint' | 'stats'>,
  reading: Pick<AuditReading, 'ask'>,
): EventHistory {
  const endNow = () => log.checkpoint()?.size ?? 0;
  const recordsFrom = async (
    from: number,
    tenant: string,
  ): Promise<Result<{ readonly records: readonly Found[]; readonly next: number | undefined }>> => {
    const answer = await reading.ask({ of: 'records', from, limit: recordsOfPage, tenant, opId: undefined });
    if (!answer.ok) return answer;
    if (!answer.value.found || !('page' in answer.value)) return refuse('AuditUnavailable');
    const { records, next } = answer.value.page;
    return ok({ records: records as readonly Found[], next });
  };
  return {
    get end() {
      return endNow();
    },
    get size() {
      return log.stats().size;
    },
    async page(tenant, from) {
      const end = endNow();
      if (from >= end) return ok({ events: [], next: from });
      const first = await recordsFrom(from, tenant);
      if (!first.ok) return first;
      const records = first.value.records.filter(({ index }) => index < end);
      const next = Math.min(end, first.value.next ?? end);
      // A change that failed says so soon afterwards, which may be on the next page.
      const cut = next < end && records.some(({ record }) => record.type !== undefined);
      const later = cut ? await recordsFrom(next, tenant) : undefined;
      if (later?.ok === false) return later;
      const among = [...records, ...(later?.value.records ?? [])];
      const events = records.flatMap(({ index, record }) => {
        const event = toldOf(index, record, among);
        return event === undefined ? [] : [{ index, event }];
      });
      return ok({ events, next });
    },
  };
}

function toldOf(index: number, record: AuditRecord, among: readonly Found[]): PublishedEvent | undefined {
  const event = auditEventOf(record);
  const failedLater = (later: Found) =>
    later.index > index &&
    later.record.key_id === record.key_id &&
    later.record.type === record.type &&
    later.record.op_id === record.op_id &&
    later.record.result !== 'ok';
  if (event.type !== undefined && among.some(failedLater)) return undefined;
  const told = { ...toldEvent(event, { index, seq: record.seq }), atMs: Math.floor(record.ts / 1_000) };
  return publishedEventOf(told, index);
}

function auditEventOf(record: AuditRecord): AuditEvent {
  const { actor, alg, key_id: keyId, key_version: keyVersion, op_id: opId } = record;
  const { purpose, result, tenant, type, data } = record;
  return {
    ...{ actor, alg, inputDigest: undefined, keyId, keyVersion, opId, purpose, result, tenant },
    ...(type === undefined ? undefined : { type }),
    ...(data === undefined ? undefined : { data }),
  };
}
