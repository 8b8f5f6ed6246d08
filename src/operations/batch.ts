import { Type } from '@sinclair/typebox';
import { type PublicFailure, publicFailure } from '../core/failure.ts';
import { ok, type Result } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { CryptoOperation, CryptoWork, OperationParts, Step, WorkOutcome } from './operation.ts';
import { type Shape, shapeOf } from './parse.ts';
import { closed } from './schemas.ts';
import { finishSign, planSign, signShape, signSubjects } from './sign.ts';
import { finishVerify, planVerify, verifyShape, verifySubjects } from './verify.ts';

/** POST /sign/batch: up to 256 sign requests in one, each with its own answer or error. */
export function signBatchOperation(parts: OperationParts): CryptoOperation<unknown[]> {
  return batchOperation('sign_batch', 'kms:sign', parts, signShape, signSubjects, planSign, finishSign);
}

/** POST /verify/batch: up to 256 verify requests in one, each with its own answer or error. */
export function verifyBatchOperation(parts: OperationParts): CryptoOperation<unknown[]> {
  return batchOperation(
    'verify_batch',
    'kms:verify',
    parts,
    verifyShape,
    verifySubjects,
    planVerify,
    finishVerify,
  );
}

function batchOperation<Request, Plan extends { readonly work: CryptoWork }, Item>(
  name: string,
  scope: 'kms:sign' | 'kms:verify',
  parts: OperationParts,
  shape: Shape<Request>,
  subjects: (request: Request) => readonly string[],
  plan: (parts: OperationParts, request: Request, caller: Caller) => Step<Plan>,
  finish: (plan: Plan, outcome: WorkOutcome) => Result<Item>,
): CryptoOperation<unknown[]> {
  // Items are checked one by one, so that a bad one has its own error and the others their answers.
  const body = shapeOf(
    closed({ items: Type.Array(Type.Unknown(), { minItems: 1, maxItems: parts.batchMaxItems }) }),
  );
  const planItem = (item: unknown, caller: Caller): Step<Plan> => {
    const request = shape.check(item);
    return request.ok ? plan(parts, request.value, caller) : request;
  };
  const subjectsOf = (item: unknown): readonly string[] => {
    const request = shape.check(item);
    return request.ok ? subjects(request.value) : [];
  };
  return {
    kind: 'crypto',
    batch: true,
    name,
    scope,
    parse(request) {
      const parsed = body.parse(request);
      return parsed.ok ? ok(parsed.value.items) : parsed;
    },
    subjects: (items) => items.flatMap(subjectsOf),
    async plan(items, caller) {
      const plans = await Promise.all(items.map((item) => planItem(item, caller)));
      return ok({
        works: plans.map((planned) => (planned.ok ? planned.value.work : planned.failure)),
        subjects: plans.map((planned, index) => (planned.ok ? [] : subjectsOf(items[index]))),
        finish: (outcomes) =>
          ok({
            status: 200,
            body: {
              results: plans.map((planned, index): Item | { error: PublicFailure } => {
                const answer = planned.ok ? finish(planned.value, outcomes[index] as WorkOutcome) : planned;
                return answer.ok ? answer.value : { error: publicFailure(answer.failure) };
              }),
            },
          }),
      });
    },
  };
}
