import type { Authenticator } from './auth/auth.ts';
import type { Cancellation } from './core/cancellation.ts';
import type { Clock } from './core/clock.ts';
import type { FailureCode } from './core/failure.ts';
import { type Result, refuse } from './core/result.ts';
import { type Caller, permits } from './core/scope.ts';
import type { CryptoLane } from './dispatch/signatures.ts';
import type { BatchResult } from './engine/batch.ts';
import type { Answer, CryptoOperation, Operation, OperationRequest } from './operations/operation.ts';

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

export type RequestPath = (call: CallRequest) => Promise<Result<Answer>>;

/** The way of every call. Each step either hands on or says why not; nothing is skipped. */
export function createRequestPath(parts: RequestPathParts): RequestPath {
  return async (call) => {
    const startedAtMs = parts.clock.monotonicMs();
    const { operation } = call;

    const caller = authenticate(parts, call);
    if (!caller.ok) return caller;
    if (!permits(caller.value, operation.scope)) {
      return refuse('NoCapability', `the capability lacks the scope ${operation.scope}`);
    }
    const input = operation.parse(call);
    if (!input.ok) return input;

    if (operation.kind === 'crypto') {
      return useKeys(parts, operation, input.value, caller.value, call.cancellation, startedAtMs);
    }
    const answer = await operation.run(input.value, caller.value);
    observe(parts, operation.name, 'none', answer, startedAtMs);
    return answer;
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
  const deadlineAtMs = startedAtMs + parts.deadlineMs;
  const outcomes = await Promise.all(
    plan.value.works.map((work): Result<readonly BatchResult[]> | Promise<Result<readonly BatchResult[]>> =>
      'code' in work
        ? { ok: false, failure: work }
        : parts.signatures.run(work, { tenant: caller.tenant, deadlineAtMs, cancellation }),
    ),
  );
  for (const [index, work] of plan.value.works.entries()) {
    const alg = 'code' in work ? 'none' : work.alg;
    observe(parts, operation.name, alg, outcomes[index] as Result<unknown>, startedAtMs);
  }
  return plan.value.finish(outcomes);
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
