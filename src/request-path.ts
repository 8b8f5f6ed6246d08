import { type Admission, signedWithinMs } from './admission/admission.ts';
import type { DeferredCalls } from './admission/deferred-calls.ts';
import type { LateRefusals } from './admission/late-refusals.ts';
import type { ParseTurn } from './admission/parse-turn.ts';
import type { ThreadShare } from './admission/thread-share.ts';
import type { Authenticator } from './auth/auth.ts';
import type { Cancellation } from './core/cancellation.ts';
import type { Clock } from './core/clock.ts';
import type { Failure, FailureCode } from './core/failure.ts';
import { type Refused, type Result, refuse } from './core/result.ts';
import { type Caller, permits } from './core/scope.ts';
import type { CryptoLane, SignatureTerms } from './dispatch/signatures.ts';
import { type BatchResult, batchStatuses } from './engine/batch.ts';
import type {
  Answer,
  CryptoOperation,
  CryptoPlan,
  CryptoWork,
  KeyOperation,
  Operation,
  OperationRequest,
  Step,
  WorkOutcome,
} from './operations/operation.ts';
import type { UseRecorder } from './operations/recording.ts';

/** One call, as the router understood it. */
export interface CallRequest extends OperationRequest {
  readonly operation: Operation;
  /** The bearer token, not looked at yet. */
  readonly token: string | undefined;
  /** X-Deadline-Ms as it came. */
  readonly deadlineWish: string | undefined;
  readonly cancellation: Cancellation;
  /**
   * Whether its address has caused few enough refusals: asked before a token that was never seen is verified, which costs
   * as much as several signatures, and before a missing scope is recorded.
   */
  withinAllowance(): boolean;
}

/** Told what became of each call, and of each item of a batch. */
export interface CallObserver {
  done(operation: string, alg: string, result: 'ok' | FailureCode, seconds: number): void;
}

export interface RequestPathParts {
  readonly authenticator: Authenticator;
  readonly admission: Admission;
  readonly threadShare: ThreadShare;
  readonly parseTurn: ParseTurn;
  readonly deferredCalls: DeferredCalls;
  readonly lateRefusals: LateRefusals;
  readonly signatures: CryptoLane;
  readonly audit: UseRecorder;
  readonly clock: Clock;
  readonly observer: CallObserver;
}

/** Whatever is refused without using a key is refused at once, without a promise. */
export type RequestPath = (call: CallRequest) => Step<Answer>;

/** A call that was let in. */
interface Admitted {
  readonly caller: Caller;
  readonly cancellation: Cancellation;
  readonly startedAtMs: number;
  /** What its deadline leaves for waiting and for the signature. */
  readonly signWithinMs: number;
}

/** The way of every call. Each step either hands on or says why not; nothing is skipped. */
export function createRequestPath(parts: RequestPathParts): RequestPath {
  return (call) => {
    const { operation, cancellation } = call;
    const startedAtMs = parts.clock.monotonicMs();

    const caller = authenticate(parts, call);
    if (!caller.ok) return caller;
    if (!permits(caller.value, operation.scope)) {
      // The answer does not wait for the record: a refusal stays cheap, and leaves no promise.
      if (call.withinAllowance())
        parts.audit.unauthorised(operation.name, caller.value, () => namedIn(operation, call));
      return refuse('NoCapability', `the capability lacks the scope ${operation.scope}`);
    }
    const batch = operation.kind === 'crypto' && operation.batch;
    const deadlineMs = parts.admission.deadlineMs(call.deadlineWish, batch);
    if (!deadlineMs.ok) return deadlineMs;

    const signWithinMs = signedWithinMs(deadlineMs.value);
    const admitted = { caller: caller.value, cancellation, startedAtMs, signWithinMs };
    const spent = parts.threadShare.spent(caller.value.tenant, startedAtMs);
    return spent ? goOnLater(parts, call, admitted) : goOn(parts, call, admitted, beginAfterParsing);
  };
}

/** Before anything is parsed, so that a refusal under load costs next to nothing. */
function goOn(parts: RequestPathParts, call: CallRequest, admitted: Admitted, begin: Begin): Step<Answer> {
  const { operation } = call;
  const refused = admit(parts, operation, admitted);
  if (refused !== undefined) return refused;
  const input = operation.parse(call);
  if (!input.ok) return input;
  return begin(parts, admitted, () =>
    operation.kind === 'crypto'
      ? useKeys(parts, operation, input.value, admitted)
      : manageKeys(parts, operation, input.value, admitted),
  );
}

type Begin = (
  parts: RequestPathParts,
  admitted: Admitted,
  work: () => Promise<Result<Answer>>,
) => Promise<Result<Answer>>;

const beginNow: Begin = (_parts, { cancellation }, work) =>
  cancellation.cancelled ? Promise.resolve(callerHasGone) : work();

/** Begins nothing for a caller whose connection ended while what it sent was parsed: nobody would have the answer. */
const beginAfterParsing: Begin = (parts, admitted, work) =>
  new Promise((resolve) => {
    const begin = () => resolve(beginNow(parts, admitted, work));
    parts.parseTurn.afterParsing(() => {
      const { threadShare, deferredCalls, clock } = parts;
      const spent = threadShare.spent(admitted.caller.tenant, clock.monotonicMs());
      if (!spent || !deferredCalls.add(begin)) begin();
    });
  });

const callerHasGone = refuse('Timeout', 'the caller closed the connection');

/**
 * Others come first. Where too many wait for that, or it is refused, the caller hears of it when its deadline is nearly over:
 * told at once it would ask at once again, and the thread that others need too would read it again.
 */
function goOnLater(parts: RequestPathParts, call: CallRequest, admitted: Admitted): Step<Answer> {
  const { deferredCalls, lateRefusals } = parts;
  const { cancellation, signWithinMs } = admitted;
  const late = (refused: Refused) => lateRefusals.hold(refused, signWithinMs, cancellation);
  // The listener's memory is another request's as soon as this returns.
  const kept = { ...call, body: Uint8Array.from(call.body) };
  return new Promise((resolve, reject) => {
    const added = deferredCalls.add(() => {
      try {
        // Whatever was read with it is parsed by now.
        const answer = goOn(parts, kept, admitted, beginNow);
        resolve('ok' in answer && !answer.ok && isLimit(answer) ? late(answer) : answer);
      } catch (cause) {
        // As where it is not put off: a bug costs this call its answer, and not the process.
        reject(cause);
      }
    });
    if (!added) resolve(late(overShare));
  });
}

function isLimit({ failure: { code } }: Refused): boolean {
  return code === 'Backpressure' || code === 'RateLimited';
}

const overShare = refuse('Backpressure', 'others come first, and too many calls wait for that', 1_000);

function admit(
  { admission, signatures }: RequestPathParts,
  { kind, scope }: Operation,
  { caller: { tenant }, startedAtMs, signWithinMs }: Admitted,
): Refused | undefined {
  const full = kind === 'crypto' ? signatures.refusal(tenant, signWithinMs) : undefined;
  return full ?? admission.enter(tenant, scope, startedAtMs);
}

/** The keys that a call names; none where it cannot be read. */
function namedIn(operation: Operation, call: CallRequest): readonly string[] {
  const input = operation.parse(call);
  return input.ok ? (operation.subjects?.(input.value) ?? []) : [];
}

function authenticate({ authenticator, clock }: RequestPathParts, call: CallRequest): Result<Caller> {
  if (call.token === undefined) return refuse('Unauthenticated', 'send Authorization: Bearer <capability>');
  return authenticator.authenticate(call.token, {
    utcMs: clock.utcMs(),
    mayVerify: () => call.withinAllowance(),
  });
}

/** Plan, queue, let workers run it, make the answer. One failed item of a batch is its own affair. */
async function useKeys<Input>(
  parts: RequestPathParts,
  operation: CryptoOperation<Input>,
  input: Input,
  { caller, cancellation, startedAtMs, signWithinMs }: Admitted,
): Promise<Result<Answer>> {
  const planned = operation.plan(input, caller);
  const plan = planned instanceof Promise ? await planned : planned;
  if (!plan.ok) {
    observe(parts, operation.name, 'none', plan, startedAtMs);
    await parts.audit.denied(operation.name, operation.subjects?.(input) ?? [], plan.failure.code, caller);
    return plan;
  }
  const { tenant } = caller;
  const deadlineAtMs = startedAtMs + signWithinMs;
  const on = { tenant, offeredAtMs: startedAtMs, deadlineAtMs, cancellation };
  const works = limitUses(parts, operation, tenant, plan.value, startedAtMs);
  const outcomes = await (works.every(isWork)
    ? runRecorded(parts, operation, works, caller, on)
    : runPermitted(parts, operation, works, plan.value, caller, on));
  for (let n = 0; n < works.length; n++) {
    const work = works[n] as CryptoWork | Failure;
    observe(parts, operation.name, isWork(work) ? work.alg : 'none', outcomes[n] as WorkOutcome, startedAtMs);
  }
  return plan.value.finish(outcomes);
}

/**
 * Room in the audit log, the work itself, its records: no key is used for which there is no room, and no result leaves
 * whose record is not kept. Without async, as every await of this way costs each request half a kilobyte.
 */
function runRecorded<Input>(
  { audit, signatures }: RequestPathParts,
  { name }: CryptoOperation<Input>,
  works: readonly CryptoWork[],
  caller: Caller,
  terms: SignatureTerms,
): Promise<readonly WorkOutcome[]> {
  const room = audit.reserve(works);
  if (!room.ok) return Promise.resolve(works.map(() => room));
  return signatures.runAll(works, terms).then((ran) => {
    const whole = ran.map((outcome, index) => made(works[index] as CryptoWork, outcome));
    return audit.record(room.value, name, works, whole, caller);
  });
}

/** The same where some items were refused: these are recorded too, once the others have their room in the log. */
async function runPermitted<Input>(
  parts: RequestPathParts,
  operation: CryptoOperation<Input>,
  works: readonly (CryptoWork | Failure)[],
  { subjects }: CryptoPlan,
  caller: Caller,
  terms: SignatureTerms,
): Promise<readonly WorkOutcome[]> {
  const running = runRecorded(parts, operation, works.filter(isWork), caller, terms);
  const denying = works.flatMap((work, index) =>
    isWork(work) ? [] : parts.audit.denied(operation.name, subjects?.[index] ?? [], work.code, caller),
  );
  const recorded = await running;
  await Promise.all(denying);
  let next = 0;
  return works.map((work) =>
    isWork(work) ? (recorded[next++] as WorkOutcome) : { ok: false, failure: work },
  );
}

/** A signature that could not be made fails its whole work: half of a hybrid one must not pass for a whole one. */
function made(
  { callClass }: CryptoWork,
  outcome: Result<readonly BatchResult[]>,
): Result<readonly BatchResult[]> {
  if (callClass !== 'sign' || !outcome.ok) return outcome;
  return outcome.value.every(({ status }) => status === batchStatuses.ok) ? outcome : refuse('Internal');
}

function isWork(work: CryptoWork | Failure): work is CryptoWork {
  return !('code' in work);
}

/** The works of a plan, with a refusal in the place of each that a rate or a key's usage limit does not permit. */
function limitUses<Input>(
  { admission }: RequestPathParts,
  { scope }: CryptoOperation<Input>,
  tenant: string,
  { works }: CryptoPlan,
  nowMs: number,
): CryptoPlan['works'] {
  // The call itself was counted when it came in.
  const more = admission.enterMore(tenant, scope, works.length - 1, nowMs);
  return works.map((work, index) => {
    if (more.refused !== undefined && index > more.admitted) return more.refused.failure;
    if (!isWork(work)) return work;
    if (work.callClass !== 'sign') return work;
    for (const { keyId } of work.uses) {
      const usedUp = admission.useKey(keyId, nowMs);
      if (usedUp !== undefined) return usedUp.failure;
    }
    return work;
  });
}

async function manageKeys<Input>(
  parts: RequestPathParts,
  operation: KeyOperation<Input>,
  input: Input,
  { caller, startedAtMs }: Admitted,
): Promise<Result<Answer>> {
  const answer = await operation.run(input, caller);
  observe(parts, operation.name, 'none', answer, startedAtMs);
  const kids = operation.subjects?.(input) ?? [];
  if (!answer.ok) await parts.audit.denied(operation.name, kids, answer.failure.code, caller);
  else if (operation.scope === 'kms:read') parts.audit.read(operation.name, kids, caller);
  return answer;
}

function observe(
  parts: RequestPathParts,
  operation: string,
  alg: string,
  outcome: Result<unknown>,
  startedAtMs: number,
): void {
  const seconds = (parts.clock.monotonicMs() - startedAtMs) / 1000;
  parts.observer.done(operation, alg, outcome.ok ? 'ok' : outcome.failure.code, seconds);
}
