import type { AuditRecord } from '../../audit/format/record.ts';
import type { CallsQuestion, RecordsPage } from '../../audit/reading/read-thread.ts';
import type { AuditParts } from '../../audit/service/parts.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { type Caller, placesOfCaller } from '../../core/scope.ts';
import { indexInRecordUuid } from '../../events/record-uuid.ts';
import type { KeyOperation, ReceiptFacts } from '../operation.ts';
import { namesOfShown, receiptOf, type SignedReceipt, signReceipt } from './receipt.ts';

export interface ReceiptRequest {
  /** Any case. */
  readonly receiptId: string;
}

export interface ListReceiptsRequest {
  readonly keyId: string | undefined;
  /** As receipts have it. */
  readonly operation: string | undefined;
  /** UTC, milliseconds since 1970, both included. */
  readonly sinceMs: number | undefined;
  readonly untilMs: number | undefined;
  /** Of an earlier page with the same filters; anything else is BadRequest. */
  readonly cursor: string | undefined;
  /** 1 to `maxReceipts`; undefined: `usualReceipts`. */
  readonly limit: number | undefined;
}

export interface ReceiptsPage {
  /** The newest first. A page may be shorter than the limit, or empty, and still have a successor. */
  readonly receipts: readonly SignedReceipt[];
  readonly nextCursor: string | undefined;
}

/** Each is a signature, of some 20 us. */
export const maxReceipts = 200;
export const usualReceipts = 50;

const noLog = refuse('Unsupported', 'this service keeps no audit log, from which receipts are made');
const noSuchReceipt = refuse('NotFound');
const badCursor = refuse('BadRequest', 'cursor: as an earlier page gave it');
const noFacts = (): ReceiptFacts => ({});

/** One receipt, made from the log and signed. Of another tenant, environment or plane it is NotFound. */
export function readReceiptOperation(
  parts: AuditParts | undefined,
): KeyOperation<ReceiptRequest, SignedReceipt> {
  return {
    ...{ kind: 'keys', name: 'receipt_read', scope: 'kms:read', receipt: noFacts },
    async run({ receiptId }, caller) {
      if (parts === undefined) return noLog;
      const id = receiptId.toLowerCase();
      const index = indexInRecordUuid(id);
      if (index === undefined) return noSuchReceipt;
      const page = await ask(parts, caller, { from: index, before: index + 1, limit: 1 });
      if (!page.ok) return page;
      const [receipt] = receiptsIn(parts, page.value);
      // At this place of another log, or of this one before it was restored, is another record.
      if (receipt?.receipt_id !== id) return noSuchReceipt;
      return signReceipt(receipt, parts.rotation.newest().signers);
    },
  };
}

/** Receipts of the caller's tenant, environments and planes. */
export function listReceiptsOperation(
  parts: AuditParts | undefined,
): KeyOperation<ListReceiptsRequest, ReceiptsPage> {
  return {
    ...{ kind: 'keys', name: 'receipt_list', scope: 'kms:read', receipt: noFacts },
    async run(request, caller) {
      if (parts === undefined) return noLog;
      const { keyId, operation, sinceMs, untilMs, cursor, limit = usualReceipts } = request;
      const before = cursor === undefined ? undefined : placeIn(cursor);
      if (cursor !== undefined && before === undefined) return badCursor;
      const page = await ask(parts, caller, {
        ...{ keyId: keyId?.toLowerCase(), before, limit },
        operations: operation === undefined ? undefined : namesOfShown(operation),
        sinceUs: sinceMs === undefined ? undefined : sinceMs * 1_000,
        // A receipt tells milliseconds, of which the record has thousandths.
        untilUs: untilMs === undefined ? undefined : untilMs * 1_000 + 999,
      });
      if (!page.ok) return page;
      const { signers } = parts.rotation.newest();
      const receipts: SignedReceipt[] = [];
      for (const signed of await Promise.all(
        receiptsIn(parts, page.value).map((receipt) => signReceipt(receipt, signers)),
      )) {
        if (!signed.ok) return signed;
        receipts.push(signed.value);
      }
      const { next } = page.value;
      return ok({ receipts, nextCursor: next === undefined ? undefined : cursorAt(next) });
    },
  };
}

async function ask(
  { reading }: AuditParts,
  caller: Caller,
  question: Omit<CallsQuestion, 'of' | 'tenant' | 'environments' | 'planes'>,
): Promise<Result<RecordsPage>> {
  const { environments, planes } = placesOfCaller(caller);
  const filter = (named: readonly string[] | 'all') => (named === 'all' ? undefined : named);
  const answer = await reading.ask({
    ...{ of: 'calls', tenant: caller.tenant, ...question },
    ...{ environments: filter(environments), planes: filter(planes) },
  });
  if (!answer.ok) return answer;
  return answer.value.found && 'page' in answer.value ? ok(answer.value.page) : noSuchReceipt;
}

function receiptsIn({ rotation }: AuditParts, { records }: RecordsPage) {
  const { origin } = rotation.newest();
  return records.map(({ index, record }) => receiptOf(index, origin, record as AuditRecord));
}

function cursorAt(index: number): string {
  return Buffer.from(`before ${index}`).toString('base64url');
}

function placeIn(cursor: string): number | undefined {
  const [, index] = /^before (\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  return index === undefined ? undefined : Number(index);
}
