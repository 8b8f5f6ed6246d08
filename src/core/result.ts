import { type Failure, type FailureCode, failure } from './failure.ts';

/** The outcome of a call: a value, or a refusal that the caller has to answer for. */
export type Result<T> = { readonly ok: true; readonly value: T } | Refused;

export interface Refused {
  readonly ok: false;
  readonly failure: Failure;
}

export function ok<T>(value: T): Result<T> {
  return { ok: true, value };
}

export function refuse(code: FailureCode, hint?: string, retryAfterMs?: number): Refused {
  return { ok: false, failure: failure(code, hint, retryAfterMs) };
}

/** A Conflict with the state of a key. */
export function refuseByState(keyState: NonNullable<Failure['keyState']>, hint: string): Refused {
  return { ok: false, failure: { code: 'Conflict', hint, keyState } };
}
