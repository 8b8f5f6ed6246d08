import type { Authenticator } from './auth/auth.ts';
import type { Cancellation } from './core/cancellation.ts';
import type { Clock } from './core/clock.ts';
import type { Failure, FailureCode } from './core/failure.ts';
import { type Result, refuse } from './core/result.ts';
import { type Caller, permits } from './core/scope.ts';
import type { CryptoLane } from './dispatch/signatures.ts';
import type {
  Answer,
  CryptoOperation,
  CryptoWork,
  KeyOperation,
  Operation,
  OperationRequest,
  Step,
} from './operations/operation.ts';

/** One call, as the router understood it. */
export interface CallRequest extends OperationRequest {
  readonly operation: Operation;
  /** The bearer token, not looked at yet. */
  readonly token: string | undefined;
  readonly cancellation: Cancellation;
}

/** Told what became of each call, and of each item of a batch. */
export interface CallObserver {
  done(operation: string, alg: string, result: 'ok' | FailureCode, seconds: number): void;
}

export interface RequestPathParts {
  readonly authenticator: Authenticator;
  readonly signatures: CryptoLane;
  readonly clock: Clock;
  readonly observer: CallObserver;
  /** From the arrival of a call to its answer, in milliseconds; what still waits then has expired. */
  readonly deadlineMs: number;
}

/** Whatever is refused without using a key is refused at once, without a promise. */
export type RequestPath = (call: CallRequest) => Step<Answer>;

/** The way of every call. Each step either hands on or says why not; nothing is skipped. */
export function createRequestPath(parts: RequestPathParts): RequestPath {
  return (call) => {
    const startedAtMs = parts.clock.monotonicMs();
    const { operation } = call;

    const caller = authenticate(parts, call);
    if (!caller.ok) return caller;
    if (!permits(caller.value, operation.scope)) {
      return refuse('NoCapability', `the capability lacks the scope ${operation.scope}`);
    }
    const input = operation.parse(call);
    if (!input.ok) return input;

    return operation.kind === 'crypto'
      ? useKeys(parts, operation, input.value, caller.value, call.cancellation, startedAtMs)
      : changeKeys(parts, operation, input.value, caller.value, startedAtMs);
  };
}

function authenticate(parts: RequestPathParts, call: CallRequest): Result<Caller> {
  if (call.token === undefined) return refuse('Unauthenticated', 'send Authorization: Bearer <capability>');
  return parts.authenticator.authenticate(call.token, { utcMs: parts.clock.utcMs() });
}

/** Plan, admit and queue, let workers run it, make the answer. One failed item of a batch is its own affair. */
async function useKeys<Input>(
  parts: RequestPathParts,
  operation: CryptoOperation<Input>,
  input: Input,
  caller: Caller,
  cancellation: Cancellation,
  startedAtMs: number,
): Promise<Result<Answer>> {
  const planned = operation.plan(input, caller);
  const plan = planned instanceof Promise ? await planned : planned;
  if (!plan.ok) {
    observe(parts, operation.name, 'none', plan, startedAtMs);
    return plan;
  }
  const on = { tenant: caller.tenant, deadlineAtMs: startedAtMs + parts.deadlineMs, cancellation };
  const run = (work: CryptoWork | Failure) =>
    'code' in work ? ({ ok: false, failure: work } as const) : parts.signatures.run(work, on);
  const { works } = plan.value;
  const outcomes =
    works.length === 1 ? [await run(works[0] as CryptoWork)] : await Promise.all(works.map(run));
  for (const [index, work] of works.entries()) {
    const alg = 'code' in work ? 'none' : work.alg;
    observe(parts, operation.name, alg, outcomes[index] as Result<unknown>, startedAtMs);
  }
  return plan.value.finish(outcomes);
}

async function changeKeys<Input>(
  parts: RequestPathParts,
  operation: KeyOperation<Input>,
  input: Input,
  caller: Caller,
  startedAtMs: number,
): Promise<Result<Answer>> {
  const answer = await operation.run(input, caller);
  observe(parts, operation.name, 'none', answer, startedAtMs);
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
