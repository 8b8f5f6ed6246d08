import { signedWithinMs } from './admission/admission.ts';
import type { ThreadGuard } from './admission/flood-guard/flood-guard.ts';
import type { Authenticator, Credentials, RequestFacts } from './auth/auth.ts';
import type { Cancellation } from './core/cancellation.ts';
import type { Clock } from './core/clock.ts';
import { type Failure, type FailureCode, isPerhapsDone } from './core/failure.ts';
import { type Refused, type Result, refuse } from './core/result.ts';
import { type Caller, permits, type Scope } from './core/scope.ts';
import { runTraced } from './observe/tracing.ts';
import {
  type CallNotes,
  type CallReceipts,
  type CryptoOperation,
  type CryptoWork,
  type Described,
  type EntryOperation,
  factsOf,
  type KeyOperation,
  type Operation,
  type ResolvedKey,
  type Step,
  type Subjects,
  subjectsOf,
  type WorkOutcome,
} from './operations/operation.ts';
import { withDrafts, withoutDenials, withReceipt } from './operations/receipts/receipted-calls.ts';
import {
  countPlan,
  deniedByPolicy,
  isWork,
  limitUses,
  runWorks,
  type WorkParts,
} from './operations/recorded-work.ts';
import { type Consultation, consult } from './policy/consult.ts';
import type { Policy } from './policy/policy.ts';

/** One call, as its dialect understood it. */
export interface CallRequest<Request, Answer> {
  readonly operation: Operation<Request, Answer> | EntryOperation<Request, Answer>;
  /** The typed request that the body holds. Asked once the call is let in, and where its refusal is recorded. */
  readonly parse: (body: Uint8Array) => Result<Request>;
  /** Only valid until the request path returns: it is parsed before anything is awaited. */
  readonly body: Uint8Array;
  readonly credentials: Credentials;
  /** X-Deadline-Ms as it came. */
  readonly deadlineWish: string | undefined;
  readonly cancellation: Cancellation;
  /**
   * True if its address has caused few enough refusals: asked before a token that was never seen is verified, which costs as
   * much as several signatures, and before a missing scope is recorded.
   */
  withinAllowance(): boolean;
  /** Absent: nobody looks at this call. */
  readonly notes?: CallNotes;
}

/** One for which a capability is needed, as for all but the first one. */
interface KeyedCall<Request, Answer> extends CallRequest<Request, Answer> {
  readonly operation: Operation<Request, Answer>;
}

/** Told what became of each call, and of each item of a batch. */
export interface CallObserver {
  done(operation: string, alg: string, result: 'ok' | FailureCode, seconds: number): void;
  /** An item of a batch was refused for a reason that has a metric of its own. */
  itemRefused(reason: NonNullable<Failure['countedAs']>): void;
}

export interface RequestPathParts extends WorkParts {
  readonly authenticator: Authenticator;
  readonly floodGuard: ThreadGuard;
  /** Undefined: a capability is all that a call needs. */
  readonly policy: Policy | undefined;
  readonly clock: Clock;
  readonly observer: CallObserver;
  /** Undefined where nothing is recorded: then no call has a receipt. */
  readonly receipts?: CallReceipts | undefined;
}

/** A refusal for which no key is used comes at once, without a promise. */
export type RequestPath = <Request, Answer>(call: CallRequest<Request, Answer>) => Step<Answer>;

/** A call that was let in. */
interface Admitted {
  readonly caller: Caller;
  readonly cancellation: Cancellation;
  readonly startedAtMs: number;
  /** The part of its deadline that is left for waiting and for the signature. */
  readonly signWithinMs: number;
  readonly notes: CallNotes | undefined;
}

/** The way of every call. Each step either hands on or says why not; nothing is skipped. */
export function createRequestPath(parts: RequestPathParts): RequestPath {
  const { receipts } = parts;
  const way = wayOf(parts);
  if (receipts === undefined) return way;
  const receiptedWay = wayOf({ ...parts, audit: withoutDenials(parts.audit) });
  return (call) => {
    const { operation, notes } = call;
    return operation.kind === 'entry' || operation.receipt === undefined || notes === undefined
      ? way(call)
      : withReceipt(receipts, operation, notes, receiptedWay(call));
  };
}

function wayOf(parts: RequestPathParts): RequestPath {
  return <Request, Answer>(asked: CallRequest<Request, Answer>) => {
    if (asked.operation.kind === 'entry') return enter(parts, asked.operation, asked);
    const call = asked as KeyedCall<Request, Answer>;
    const startedAtMs = parts.clock.monotonicMs();
    const facts = requestFactsOf(parts, call);
    const later = parts.authenticator.authenticateLater?.(call.credentials, facts);
    if (later !== undefined) return admitLater(parts, call, later, startedAtMs);
    const caller = parts.authenticator.authenticate(call.credentials, facts);
    return caller.ok ? admitCaller(parts, call, caller.value, startedAtMs, false) : caller;
  };
}

/** `parsed`: as in `goOn`. */
function admitCaller<Request, Answer>(
  parts: RequestPathParts,
  call: KeyedCall<Request, Answer>,
  caller: Caller,
  startedAtMs: number,
  parsed: boolean,
): Step<Answer> {
  const { operation, cancellation, notes } = call;
  if (notes !== undefined) notes.caller = caller;
  if (!permitsSome(caller, operation)) {
    // The answer does not wait for the record: a refusal stays cheap, and leaves no promise.
    if (call.withinAllowance()) parts.audit.unauthorised(operation.name, caller, () => namedIn(call));
    return caller.stranger === true ? unknownCaller : lacks(operation.scope);
  }
  const batch = operation.kind === 'crypto' && operation.batch;
  const deadlineMs = parts.admission.deadlineMs(call.deadlineWish, batch);
  if (!deadlineMs.ok) return deadlineMs;

  const signWithinMs = signedWithinMs(deadlineMs.value);
  const admitted = { caller, cancellation, startedAtMs, signWithinMs, notes };
  const { tenant } = caller;
  const spent = parts.floodGuard.spent(tenant, startedAtMs);
  // A key that is to be destroyed is a danger as long as it is there.
  if (operation.scope === 'kms:destroy') return goOn(parts, call, admitted, parsed);
  const refused = parts.floodGuard.refusal(tenant, startedAtMs);
  if (refused !== undefined) return parts.floodGuard.answerTo(refused, signWithinMs, cancellation);
  return spent ? goOnLater(parts, call, admitted) : goOn(parts, call, admitted, parsed);
}

/** The way of a call whose caller is not known at once. */
async function admitLater<Request, Answer>(
  parts: RequestPathParts,
  call: KeyedCall<Request, Answer>,
  later: Promise<Result<Caller>>,
  startedAtMs: number,
): Promise<Result<Answer>> {
  const kept = withOwnBody(call);
  const caller = await later;
  return caller.ok ? admitCaller(parts, kept, caller.value, startedAtMs, true) : caller;
}

/** The listener's memory is another request's as soon as the request path returns. */
function withOwnBody<Request, Answer>(call: KeyedCall<Request, Answer>): KeyedCall<Request, Answer> {
  return { ...call, body: Uint8Array.from(call.body) };
}

const unknownCaller = refuse('Unauthenticated', 'whoever is at the other end is not allowed');

/** The way to a first capability. Evidence costs as much to verify as a token that was never seen. */
async function enter<Request, Answer>(
  parts: RequestPathParts,
  operation: EntryOperation<Request, Answer>,
  call: CallRequest<Request, Answer>,
): Promise<Result<Answer>> {
  const startedAtMs = parts.clock.monotonicMs();
  if (!call.withinAllowance()) return tooManyRefused;
  const request = call.parse(call.body);
  if (!request.ok) return request;
  const answer = await operation.run(request.value, call.credentials);
  observe(parts, operation.name, 'none', answer, startedAtMs);
  return answer;
}

const tooManyRefused = refuse('AddressLimited', undefined, 1_000);

/**
 * Refuses before anything is parsed, so that a refusal under load costs next to nothing. `parsed`: what came with the call in
 * one segment is parsed; until then nothing begins, as a second request there ends the connection.
 */
function goOn<Request, Answer>(
  parts: RequestPathParts,
  call: KeyedCall<Request, Answer>,
  admitted: Admitted,
  parsed: boolean,
): Step<Answer> {
  const { operation } = call;
  const refused = admit(parts, operation, admitted);
  if (refused !== undefined)
    return parts.floodGuard.answerTo(refused, admitted.signWithinMs, admitted.cancellation);
  const request = call.parse(call.body);
  if (!request.ok) {
    parts.admission.giveBack(admitted.caller.tenant, operation.scope, 1);
    return request;
  }
  if (call.notes !== undefined) call.notes.request = request.value;
  if (operation.resolve === undefined) return goOnWith(parts, call, request.value, admitted, parsed);
  const resolved = operation.resolve(request.value, admitted.caller);
  const goOnFor = (found: ResolvedKey) =>
    goOnWith(parts, call, { ...request.value, ...found }, admitted, parsed);
  return resolved instanceof Promise ? resolved.then(goOnFor) : goOnFor(resolved);
}

/** The rest of the way, with the kids of the keys that the request names. */
function goOnWith<Request, Answer>(
  parts: RequestPathParts,
  call: KeyedCall<Request, Answer>,
  request: Request,
  admitted: Admitted,
  parsed: boolean,
): Step<Answer> {
  const { operation } = call;
  if (call.notes !== undefined) call.notes.request = request;
  const forbidden =
    refusalOfScopes(parts, call, request, admitted) ?? refusalOfConditions(parts, call, request, admitted);
  if (forbidden !== undefined) return forbidden;
  const begin = () => {
    if (admitted.cancellation.cancelled) return callerHasGone(parts, operation, admitted);
    return parts.policy === undefined
      ? carryOut(parts, operation, request, admitted, undefined)
      : carryOutIfAllowed(parts, parts.policy, operation, request, admitted);
  };
  return parsed ? begin() : parts.floodGuard.afterParsing(admitted.caller.tenant, begin);
}

function carryOut<Request, Answer>(
  parts: RequestPathParts,
  operation: Operation<Request, Answer>,
  request: Request,
  admitted: Admitted,
  ruled: Consultation | undefined,
): Promise<Result<Answer>> {
  return operation.kind === 'crypto'
    ? useKeys(parts, operation, request, admitted, ruled)
    : manageKeys(parts, operation, request, admitted);
}

/** What a capability permits is asked of policy once, before any key is looked up. */
async function carryOutIfAllowed<Request, Answer>(
  parts: RequestPathParts,
  policy: Policy,
  operation: Operation<Request, Answer>,
  request: Request,
  admitted: Admitted,
): Promise<Result<Answer>> {
  const { caller, startedAtMs, cancellation } = admitted;
  const about = subjectsOf(operation, request);
  const asked = consult(policy, operation.name, caller, about);
  const ruled = asked instanceof Promise ? await asked : asked;
  if (cancellation.cancelled) return callerHasGone(parts, operation, admitted);
  if (!ruled.denied) return carryOut(parts, operation, request, admitted, ruled);
  parts.admission.giveBack(caller.tenant, operation.scope, 1);
  observe(parts, operation.name, 'none', deniedByPolicy, startedAtMs);
  await parts.audit.denied(operation.name, about, deniedByPolicy.failure.code, caller);
  return deniedByPolicy;
}

function permitsSome(caller: Caller, { scope, scopes }: Operation<never, unknown>): boolean {
  return scopes === undefined
    ? permits(caller, scope)
    : scopes.oneOf.some((enough) => permits(caller, enough));
}

function lacks(scope: Scope): Refused {
  return refuse('NoCapability', `the capability lacks the scope ${scope}`);
}

/** The refusal of a capability that does not have all scopes which this very request needs. */
function refusalOfScopes<Request, Answer>(
  { admission, audit }: RequestPathParts,
  call: KeyedCall<Request, Answer>,
  request: Request,
  { caller }: Admitted,
): Refused | undefined {
  const { operation } = call;
  const lacking = operation.scopes?.of(request).find((scope) => !permits(caller, scope));
  if (lacking === undefined) return undefined;
  admission.giveBack(caller.tenant, operation.scope, 1);
  if (call.withinAllowance())
    audit.unauthorised(operation.name, caller, () => subjectsOf(operation, request));
  return lacks(lacking);
}

/** The refusal of a capability that asks about the call; most ask nothing. Items of a batch are judged one by one, in its plan. */
function refusalOfConditions<Request, Answer>(
  { admission, audit }: RequestPathParts,
  call: KeyedCall<Request, Answer>,
  request: Request,
  { caller }: Admitted,
): Refused | undefined {
  const { operation } = call;
  if (caller.conditions === undefined || (operation.kind === 'crypto' && operation.batch)) return undefined;
  const refused = caller.conditions.refusal(factsOf(operation, request));
  if (refused === undefined) return undefined;
  admission.giveBack(caller.tenant, operation.scope, 1);
  if (call.withinAllowance())
    audit.unauthorised(operation.name, caller, () => subjectsOf(operation, request));
  return refused;
}

const gone = refuse('Timeout', 'the caller closed the connection');

/** Nothing is begun whose answer nobody would have. */
async function callerHasGone(
  { admission }: RequestPathParts,
  { scope }: Described,
  { caller: { tenant } }: Admitted,
): Promise<Refused> {
  admission.giveBack(tenant, scope, 1);
  return gone;
}

/** Others come first. */
function goOnLater<Request, Answer>(
  parts: RequestPathParts,
  call: KeyedCall<Request, Answer>,
  admitted: Admitted,
): Promise<Result<Answer>> {
  const kept = withOwnBody(call);
  return parts.floodGuard.putOff(
    // Everything that was read with it is parsed by then.
    () => goOn(parts, kept, admitted, true),
    admitted.signWithinMs,
    admitted.cancellation,
  );
}

function admit(
  { admission, signatures }: RequestPathParts,
  { kind, scope }: Described,
  { caller: { tenant }, startedAtMs, signWithinMs }: Admitted,
): Refused | undefined {
  const full = kind === 'crypto' ? signatures.refusal(tenant, signWithinMs) : undefined;
  return full ?? admission.enter(tenant, scope, startedAtMs);
}

/** The subjects of a call; none where it cannot be read. */
function namedIn<Request, Answer>({ operation, parse, body }: KeyedCall<Request, Answer>): Subjects {
  const request = parse(body);
  return request.ok ? subjectsOf(operation, request.value) : [];
}

function requestFactsOf(
  { clock }: RequestPathParts,
  call: Pick<CallRequest<never, never>, 'body' | 'withinAllowance'>,
): RequestFacts {
  return {
    utcMs: clock.utcMs(),
    mayVerify: () => call.withinAllowance(),
    bodyBytes: call.body.length,
  };
}

/** Plan, queue, let workers run it, make the answer. One failed item of a batch is its own affair. */
async function useKeys<Request, Answer>(
  parts: RequestPathParts,
  operation: CryptoOperation<Request, Answer>,
  request: Request,
  { caller, cancellation, startedAtMs, signWithinMs, notes }: Admitted,
  ruled: Consultation | undefined,
): Promise<Result<Answer>> {
  const planned = operation.plan(request, caller, ruled);
  const found = planned instanceof Promise ? await planned : planned;
  let plan = withDrafts(parts.receipts, operation, request, caller, found);
  if (caller.conditions !== undefined && plan.ok)
    plan = await countPlan(operation, request, caller.conditions, plan);
  if (!plan.ok) {
    parts.admission.giveBack(caller.tenant, operation.scope, 1);
    observe(parts, operation.name, 'none', plan, startedAtMs);
    await parts.audit.denied(operation.name, subjectsOf(operation, request), plan.failure.code, caller);
    return plan;
  }
  const { tenant } = caller;
  const deadlineAtMs = startedAtMs + signWithinMs;
  const on = { tenant, offeredAtMs: startedAtMs, deadlineAtMs, cancellation, request: notes };
  const limited = limitUses(parts, operation, tenant, plan.value, ruled, startedAtMs);
  const works = limited instanceof Promise ? await limited : limited;
  if (notes !== undefined) notes.works = works;
  const outcomes = await runWorks(parts, operation, works, plan.value, caller, on);
  for (let n = 0; n < works.length; n++) {
    const work = works[n] as CryptoWork | Failure;
    if (operation.batch && !isWork(work) && work.countedAs !== undefined)
      parts.observer.itemRefused(work.countedAs);
    observe(parts, operation.name, isWork(work) ? work.alg : 'none', outcomes[n] as WorkOutcome, startedAtMs);
  }
  const finished = plan.value.finish(outcomes);
  const answer = finished instanceof Promise ? await finished : finished;
  if (works.length === 0) observe(parts, operation.name, 'none', answer, startedAtMs);
  return answer.ok ? answer : parts.floodGuard.answerTo(answer, signWithinMs, cancellation);
}

async function manageKeys<Request, Answer>(
  parts: RequestPathParts,
  operation: KeyOperation<Request, Answer>,
  request: Request,
  { caller, startedAtMs, notes }: Admitted,
): Promise<Result<Answer>> {
  const { conditions } = caller;
  const counted = conditions === undefined ? undefined : await conditions.use(factsOf(operation, request), 1);
  const answer = counted ?? (await runTraced(notes, () => operation.run(request, caller)));
  observe(parts, operation.name, 'none', answer, startedAtMs);
  const subjects = subjectsOf(operation, request);
  if (!answer.ok && changedNothing(answer)) parts.admission.giveBack(caller.tenant, operation.scope, 1);
  if (!answer.ok) await parts.audit.denied(operation.name, subjects, answer.failure.code, caller);
  else if (operation.scope === 'kms:read')
    parts.audit.read(operation.name, 'alg' in subjects ? [] : subjects, caller);
  return answer;
}

/** A refusal of the store or the log stays counted: it has cost a record, and perhaps the call was done. */
function changedNothing({ failure: { code } }: Refused): boolean {
  return !isPerhapsDone(code);
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
