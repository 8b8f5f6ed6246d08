import type { Failure } from '../../core/failure.ts';
import type { Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type {
  CallNotes,
  CallReceipts,
  CryptoOperation,
  CryptoPlan,
  CryptoWork,
  Operation,
  Step,
} from '../operation.ts';
import { isWork } from '../recorded-work.ts';
import type { UseRecorder } from '../recording/use-recorder.ts';

/** A call that has a receipt has one record; the refusal says itself in it, and needs none of its own. */
export function withoutDenials(audit: UseRecorder): UseRecorder {
  return { ...audit, denied: async () => {}, unauthorised: () => {} };
}

/** The plan whose records keep the facts of the call's receipt. */
export function withDrafts<Request, Answer>(
  receipts: CallReceipts | undefined,
  operation: CryptoOperation<Request, Answer>,
  request: Request,
  caller: Caller,
  plan: Result<CryptoPlan<Answer>>,
): Result<CryptoPlan<Answer>> {
  if (receipts === undefined || operation.receipt === undefined || !plan.ok) return plan;
  const data = receipts.data(operation.receipt(request, caller, undefined), caller);
  const works = plan.value.works.map((work) =>
    isWork(work) ? { ...work, receipt: { data, receiptId: undefined } } : work,
  );
  return { ok: true, value: { ...plan.value, works } };
}

/**
 * The outcome of a call, which has left its receipt in the log by then: in the record of its first use of a key, or in one of its
 * own. Without a caller there is none: nobody could read it. The outcome stays what it is where the record cannot be kept.
 */
export async function withReceipt<Request, Answer>(
  receipts: CallReceipts,
  operation: Operation<Request, Answer>,
  notes: CallNotes,
  outcome: Step<Answer>,
): Promise<Result<Answer>> {
  const answer = await outcome;
  const { caller, works } = notes;
  if (caller === undefined) return answer;
  notes.receiptId = receiptIn(works);
  if (notes.receiptId !== undefined) return answer;
  const request = notes.request as Request | undefined;
  const facts = operation.receipt?.(request, caller, answer.ok ? answer.value : undefined) ?? {};
  const alg = facts.alg ?? works?.find(isWork)?.alg;
  const named = alg === undefined ? facts : { ...facts, alg };
  const failed = answer.ok ? undefined : answer.failure;
  notes.receiptId = await receipts.record(operation.name, caller, named, failed);
  return answer;
}

function receiptIn(works: readonly (CryptoWork | Failure)[] | undefined): string | undefined {
  for (const work of works ?? []) {
    const id = isWork(work) ? work.receipt?.receiptId : undefined;
    if (id !== undefined) return id;
  }
  return undefined;
}
