import { ok, type Result } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { CryptoOperation, CryptoWork, OperationParts, Step, WorkOutcome } from './operation.ts';
import { finishSign, planSign, type SignAnswer, type SignRequest, signSubjects } from './sign.ts';
import { finishVerify, planVerify, type VerifyAnswer, type VerifyRequest, verifySubjects } from './verify.ts';

/** Many requests in one. A bad item has its own refusal and the others their answers. */
export interface BatchRequest<Request> {
  /** Made when they are planned, so that a long batch takes no more of the turn in which it is read. */
  items(): readonly Result<Request>[];
}

/** In the order of the request. */
export type BatchAnswer<Answer> = readonly Result<Answer>[];

export function signBatchOperation(
  parts: OperationParts,
): CryptoOperation<BatchRequest<SignRequest>, BatchAnswer<SignAnswer>> {
  return batchOperation('sign_batch', 'kms:sign', parts, signSubjects, planSign, finishSign);
}

export function verifyBatchOperation(
  parts: OperationParts,
): CryptoOperation<BatchRequest<VerifyRequest>, BatchAnswer<VerifyAnswer>> {
  return batchOperation('verify_batch', 'kms:verify', parts, verifySubjects, planVerify, finishVerify);
}

function batchOperation<Request, Plan extends { readonly work: CryptoWork }, Item>(
  name: string,
  scope: 'kms:sign' | 'kms:verify',
  parts: OperationParts,
  subjects: (request: Request) => readonly string[],
  plan: (parts: OperationParts, request: Request, caller: Caller) => Step<Plan>,
  finish: (plan: Plan, outcome: WorkOutcome) => Result<Item>,
): CryptoOperation<BatchRequest<Request>, BatchAnswer<Item>> {
  const subjectsOf = (item: Result<Request>) => (item.ok ? subjects(item.value) : []);
  return {
    kind: 'crypto',
    batch: true,
    name,
    scope,
    subjects: (batch) => batch.items().flatMap(subjectsOf),
    async plan(batch, caller) {
      const items = batch.items();
      const plans = await Promise.all(
        items.map((item) => (item.ok ? plan(parts, item.value, caller) : item)),
      );
      return ok({
        works: plans.map((planned) => (planned.ok ? planned.value.work : planned.failure)),
        subjects: plans.map((planned, index) =>
          planned.ok ? [] : subjectsOf(items[index] as Result<Request>),
        ),
        finish: (outcomes) =>
          ok(
            plans.map((planned, index) =>
              planned.ok ? finish(planned.value, outcomes[index] as WorkOutcome) : planned,
            ),
          ),
      });
    },
  };
}
