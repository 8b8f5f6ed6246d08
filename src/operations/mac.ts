import { hash } from 'node:crypto';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import { type BatchResult, batchStatuses } from '../engine/batch.ts';
import type { KeyHandle } from '../keys/keyring.ts';
import {
  addItem,
  addKey,
  type PlannedKind,
  type PlannedWork,
  planWork,
  refusalOfVersion,
  withKeys,
} from './key-work.ts';
import {
  type CryptoOperation,
  type KeyUse,
  type OperationParts,
  type Step,
  singlePlan,
  type Verdict,
  type WorkOutcome,
} from './operation.ts';

export interface MacRequest {
  readonly kid: string;
  readonly message: Uint8Array;
}

export interface MacAnswer {
  /** Names the version that made the tag. */
  readonly kid: string;
  /** 32 bytes; a view of the workers' response, not a copy. */
  readonly tag: Uint8Array;
}

export interface MacVerifyRequest extends MacRequest {
  /** Of another length than 32 bytes it is no tag of the message. */
  readonly tag: Uint8Array;
}

export interface MacVerifyAnswer {
  readonly ok: boolean;
}

interface MacPlan {
  readonly work: PlannedWork;
  readonly kid: string;
}

/** The tag of a message by the current version of a key (HMAC-SHA-256, RFC 2104). */
export function macOperation(parts: OperationParts): CryptoOperation<MacRequest, MacAnswer> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'mac',
    scope: 'kms:sign',
    subjects: ({ kid }) => [kid],
    plan: (request, caller) =>
      singlePlan(planMac(parts, 'mac', request.kid, [request.message], caller), finishMac),
  };
}

/** Whether a tag is that of a message, by any version that is not destroyed. */
export function macVerifyOperation(
  parts: OperationParts,
): CryptoOperation<MacVerifyRequest, MacVerifyAnswer> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'mac_verify',
    scope: 'kms:verify',
    subjects: ({ kid }) => [kid],
    plan: ({ kid, message, tag }, caller) =>
      singlePlan(planMac(parts, 'verify_mac', kid, [message, tag], caller), finishMacVerify),
  };
}

function planMac(
  parts: OperationParts,
  kind: PlannedKind,
  kid: string,
  inputs: readonly [message: Uint8Array, tag?: Uint8Array],
  caller: Caller,
): Step<MacPlan> {
  return withKeys(parts.keyring, caller, [kid], (handles) => {
    const [found] = handles as [Result<KeyHandle>];
    if (!found.ok) return found;
    const { version } = found.value;
    const work = planWork(kind);
    const refused = addKey(parts, work, found.value) ?? refusalOfVersion(work, found.value);
    if (refused !== undefined) return refused;
    work.inputDigest = `sha256:${hash('sha256', inputs[0])}`;
    const [part] = version.parts as [(typeof version.parts)[0]];
    addItem(parts, work, part, part.component.schemes[0], inputs as readonly [Uint8Array]);
    if (kind === 'verify_mac') work.verdict = verdictOf;
    return ok({ work, kid: version.kid });
  });
}

function finishMac({ kid }: MacPlan, outcome: WorkOutcome): Result<MacAnswer> {
  if (!outcome.ok) return outcome;
  const [tag] = (outcome.value.results[0] as BatchResult).outputs as [Uint8Array];
  return ok({ kid, tag });
}

function verdictOf(_use: KeyUse, results: readonly BatchResult[]): Verdict {
  const status = results[0]?.status;
  if (status === batchStatuses.ok) return 'ok';
  return status === batchStatuses.rejected ? 'invalid' : 'error:Internal';
}

function finishMacVerify(_plan: MacPlan, outcome: WorkOutcome): Result<MacVerifyAnswer> {
  if (!outcome.ok) return outcome;
  const { status } = outcome.value.results[0] as BatchResult;
  if (status !== batchStatuses.ok && status !== batchStatuses.rejected) return refuse('Internal');
  return ok({ ok: status === batchStatuses.ok });
}
