import type { Admission } from '../admission/admission.ts';
import type { KeyUses } from '../admission/key-uses.ts';
import { workKinds } from '../algorithms/work-kinds.ts';
import type { Failure } from '../core/failure.ts';
import { type Refused, type Result, refuse } from '../core/result.ts';
import type { CallConditions, Caller, Scope } from '../core/scope.ts';
import type { CallTerms, CryptoDispatch } from '../dispatch/crypto-dispatch.ts';
import { type BatchResult, batchStatuses } from '../engine/batch.ts';
import type { Consultation } from '../policy/consult.ts';
import {
  type CryptoOperation,
  type CryptoPlan,
  type CryptoWork,
  type Described,
  factsOf,
  type WorkOutcome,
} from './operation.ts';
import type { UseRecorder } from './recording/use-recorder.ts';

/** The parts of the request path by which works are limited, run and recorded. */
export interface WorkParts {
  readonly admission: Admission;
  readonly keyUses: KeyUses;
  readonly signatures: CryptoDispatch;
  readonly audit: UseRecorder;
}

export const deniedByPolicy = refuse('PolicyViolation', 'ask the operator of the service');

/** Runs and records the works of a plan as they were permitted: one outcome for each, in their order. */
export function runWorks(
  parts: WorkParts,
  operation: Described,
  works: readonly (CryptoWork | Failure)[],
  plan: CryptoPlan<unknown>,
  caller: Caller,
  terms: CallTerms,
): Promise<readonly WorkOutcome[]> {
  return works.every(isWork)
    ? runRecorded(parts, operation, works, caller, terms)
    : runPermitted(parts, operation, works, plan, caller, terms);
}

/** The plan, counted among the uses of its capability. */
export async function countPlan<Request, Answer>(
  operation: CryptoOperation<Request, Answer>,
  request: Request,
  conditions: CallConditions,
  plan: { readonly ok: true; readonly value: CryptoPlan<Answer> },
): Promise<Result<CryptoPlan<Answer>>> {
  let items = 0;
  let costUs = 0;
  for (const work of plan.value.works) {
    if (!isWork(work)) continue;
    items++;
    for (const meter of work.meters) costUs += meter.costUs;
  }
  if (items === 0) return plan;
  const refused = (await conditions.use(factsOf(operation, request), items)) ?? conditions.spend(costUs);
  return refused ?? plan;
}

/**
 * Room in the audit log, the work itself, its records: no key is used for which there is no room, and no result leaves
 * whose record is not kept. Without async, as every await of this way costs each request half a kilobyte.
 */
function runRecorded(
  parts: WorkParts,
  { name, scope }: Described,
  works: readonly CryptoWork[],
  caller: Caller,
  terms: CallTerms,
): Promise<readonly WorkOutcome[]> {
  const { audit, signatures } = parts;
  const room = audit.reserve(works);
  if (!room.ok) {
    for (const work of works) uncount(parts, caller.tenant, scope, work);
    return Promise.resolve(works.map(() => room));
  }
  return signatures.runAll(works, terms).then((ran) => {
    for (let n = 0; n < ran.length; n++) {
      if (neverBegan(ran[n] as Result<unknown>)) uncount(parts, caller.tenant, scope, works[n] as CryptoWork);
    }
    const whole = ran.map((outcome, index) => made(works[index] as CryptoWork, outcome));
    return audit.record(room.value, name, works, whole, caller);
  });
}

/** The same where some items were refused: these are recorded too, once the others have their room in the log. */
async function runPermitted(
  parts: WorkParts,
  operation: Described,
  works: readonly (CryptoWork | Failure)[],
  plan: CryptoPlan<unknown>,
  caller: Caller,
  terms: CallTerms,
): Promise<readonly WorkOutcome[]> {
  const running = runRecorded(parts, operation, works.filter(isWork), caller, terms);
  const denying = works.flatMap((work, index) =>
    isWork(work) ? [] : parts.audit.denied(operation.name, namedBy(plan, index), work.code, caller),
  );
  const recorded = await running;
  await Promise.all(denying);
  let next = 0;
  return works.map((work) =>
    isWork(work) ? (recorded[next++] as WorkOutcome) : { ok: false, failure: work },
  );
}

/** The kids of a work that was planned and then not permitted, or of an item that could not be planned. */
function namedBy({ works, subjects }: CryptoPlan<unknown>, index: number): readonly string[] {
  const planned = works[index];
  if (planned === undefined || !isWork(planned)) return subjects?.[index] ?? [];
  return planned.uses.map(({ keyId, version }) => `${keyId}#v${version}`);
}

/** An item that could not be made fails its whole work, where the kind of work says so. */
function made(work: CryptoWork, outcome: Result<readonly BatchResult[]>): Result<readonly BatchResult[]> {
  if (!outcome.ok) return outcome;
  const { allOrNothing } = workKinds[work.kind];
  if (allOrNothing && outcome.value.some(({ status }) => status !== batchStatuses.ok))
    return refuse('Internal');
  return work.refusal?.(outcome.value) ?? outcome;
}

export function isWork(work: CryptoWork | Failure): work is CryptoWork {
  return !('code' in work);
}

/** Refused by the queue, or taken out of it. Whatever else fails may have used the key, and stays counted. */
function neverBegan(outcome: Result<unknown>): boolean {
  return !outcome.ok && (outcome.failure.code === 'Backpressure' || outcome.failure.code === 'Timeout');
}

function uncount({ admission, keyUses }: WorkParts, tenant: string, scope: Scope, work: CryptoWork): void {
  admission.giveBack(tenant, scope, 1);
  keyUses.giveBack(work);
}

type Permitted = (CryptoWork | Failure)[];

/**
 * The works of a plan, with a refusal in the place of each that policy, a rate or a key's usage limit does not permit. A promise
 * only where a count of uses has to be written down first.
 */
export function limitUses(
  { admission, keyUses }: WorkParts,
  { scope }: Described,
  tenant: string,
  { works }: CryptoPlan<unknown>,
  ruled: Consultation | undefined,
  nowMs: number,
): Permitted | Promise<Permitted> {
  let asked = 0;
  for (const work of works) if (isWork(work)) asked++;
  // The call itself was counted when it came in.
  const more = admission.enterMore(tenant, scope, Math.max(0, asked - 1), nowMs);
  let left = 1 + more.admitted;
  const permitted: Permitted = [];
  const settle = (work: CryptoWork, usedUp: Refused | undefined) => {
    if (usedUp === undefined) left--;
    permitted.push(usedUp === undefined ? work : usedUp.failure);
  };
  const goOn = (): Permitted | Promise<Permitted> => {
    while (permitted.length < works.length) {
      const work = works[permitted.length] as CryptoWork | Failure;
      const refused = isWork(work) ? refusalOf(work, ruled, left === 0 ? more.refused : undefined) : work;
      if (refused !== undefined) {
        permitted.push(refused);
        continue;
      }
      const usedUp = takeUses(keyUses, work as CryptoWork, ruled);
      if (usedUp instanceof Promise)
        return usedUp.then((later) => {
          settle(work as CryptoWork, later);
          return goOn();
        });
      settle(work as CryptoWork, usedUp);
    }
    if (left > 0) admission.giveBack(tenant, scope, left);
    return permitted;
  };
  return goOn();
}

function refusalOf(
  { uses }: CryptoWork,
  ruled: Consultation | undefined,
  rate: Refused | undefined,
): Failure | undefined {
  if (ruled !== undefined && !uses.every(({ keyId }) => ruled.allows(keyId))) return deniedByPolicy.failure;
  return rate?.failure;
}

function takeUses(keyUses: KeyUses, work: CryptoWork, ruled: Consultation | undefined) {
  return workKinds[work.kind].usesSecret ? keyUses.take(work, ruled?.usesPerDay) : undefined;
}
