import { ok, type Result } from '../core/result.ts';
import type { Caller, Scope } from '../core/scope.ts';
import type { Consultation } from '../policy/consult.ts';
import {
  type CryptoOperation,
  type CryptoWork,
  factsOf,
  type OperationParts,
  type Particulars,
  type Step,
  type WorkOutcome,
} from './operation.ts';
import { finishSign, planSign, type SignAnswer, type SignRequest, signFacts, signSubjects } from './sign.ts';
import {
  finishVerify,
  planVerify,
  type VerifyAnswer,
  type VerifyRequest,
  verifyFacts,
  verifySubjects,
} from './verify.ts';

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
  return batchOperation('sign_batch', 'kms:sign', parts, signItem);
}

export function verifyBatchOperation(
  parts: OperationParts,
): CryptoOperation<BatchRequest<VerifyRequest>, BatchAnswer<VerifyAnswer>> {
  return batchOperation('verify_batch', 'kms:verify', parts, verifyItem);
}

/** One of the requests of a batch. */
interface BatchItem<Request, Plan extends { readonly work: CryptoWork }, Answer> {
  subjects(request: Request): readonly string[];
  facts?(request: Request): Particulars;
  plan(parts: OperationParts, request: Request, caller: Caller, ruled?: Consultation): Step<Plan>;
  finish(plan: Plan, outcome: WorkOutcome): Result<Answer>;
}

const signItem = { subjects: signSubjects, facts: signFacts, plan: planSign, finish: finishSign };
const verifyItem = { subjects: verifySubjects, facts: verifyFacts, plan: planVerify, finish: finishVerify };

export function batchOperation<Request, Plan extends { readonly work: CryptoWork }, Answer>(
  name: string,
  scope: Scope,
  parts: OperationParts,
  { subjects, facts, plan, finish }: BatchItem<Request, Plan, Answer>,
): CryptoOperation<BatchRequest<Request>, BatchAnswer<Answer>> {
  const subjectsOf = (item: Result<Request>) => (item.ok ? subjects(item.value) : []);
  const asked = {
    kind: 'crypto',
    name,
    scope,
    subjects,
    ...(facts === undefined ? undefined : { facts }),
  } as const;
  const planItem = (request: Request, caller: Caller, ruled?: Consultation): Step<Plan> =>
    caller.conditions?.refusal(factsOf(asked, request)) ?? plan(parts, request, caller, ruled);
  return {
    kind: 'crypto',
    batch: true,
    name,
    scope,
    subjects: (batch) => batch.items().flatMap(subjectsOf),
    async plan(batch, caller, ruled) {
      const items = batch.items();
      const plans = await Promise.all(
        items.map((item) => (item.ok ? planItem(item.value, caller, ruled) : item)),
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
