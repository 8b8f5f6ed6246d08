import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import { batchOps } from '../../engine/batch.ts';
import { wordInput } from '../../engine/rooms.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import {
  type CryptoOperation,
  type OperationParts,
  type Step,
  singlePlan,
  type WorkOutcome,
} from '../operation.ts';
import { finishOpened, type Opened, outputsOf } from './encrypt.ts';
import { countEncryption, namedKey, notOpened, type OneKeyPlan, planWithKey, wrapInfo } from './one-key.ts';

export interface WrapRequest {
  readonly kid: string;
  /** At most 64 KiB. A number: that many random bytes, 16, 32 or 64, which nobody is told. */
  readonly plaintext: Uint8Array | number;
  readonly aad: Uint8Array;
}

export interface Wrapped {
  /** Names the version that wrapped, which is the one that unwraps. */
  readonly kid: string;
  /** A view of the workers' response, not a copy. */
  readonly wrapped: Uint8Array;
}

export interface UnwrapRequest {
  /** Without a version: the current one, and no other is tried. */
  readonly kid: string;
  readonly wrapped: Uint8Array;
  readonly aad: Uint8Array;
}

export interface DataKeyRequest {
  readonly kid: string;
  /** 16, 32 or 64 bytes. */
  readonly size: number;
  readonly aad: Uint8Array;
  /** True: the answer has the key in the clear too, which takes the right to unwrap it. */
  readonly withPlaintext: boolean;
}

export interface DataKeyAnswer extends Wrapped {
  readonly plaintext: Uint8Array | undefined;
}

/** Wraps by the current version: HPKE base mode by a KEM key, an AEAD or KWP by a secret one. */
export function wrapOperation(parts: OperationParts): CryptoOperation<WrapRequest, Wrapped> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'wrap', scope: 'kms:wrap', subjects: namedKey },
    plan: ({ kid, plaintext, aad }, caller) =>
      singlePlan(
        typeof plaintext === 'number'
          ? planDataKey(parts, { kid, size: plaintext, aad, withPlaintext: false }, caller)
          : planWrap(parts, { kid, plaintext, aad }, caller),
        finishWrap,
      ),
  };
}

/** Unwraps by one version that is not destroyed. BadRequest, with one text: it does not open. */
export function unwrapOperation(parts: OperationParts): CryptoOperation<UnwrapRequest, Opened> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'unwrap', scope: 'kms:unwrap', subjects: namedKey },
    plan: (request, caller) => singlePlan(planUnwrap(parts, request, caller), finishOpened),
  };
}

/** A new key for its caller's own data, wrapped by the current version. */
export function dataKeyOperation(parts: OperationParts): CryptoOperation<DataKeyRequest, DataKeyAnswer> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'datakey', scope: 'kms:wrap', subjects: namedKey },
    scopes: {
      oneOf: ['kms:wrap'],
      of: ({ withPlaintext }) => (withPlaintext ? ['kms:wrap', 'kms:unwrap'] : ['kms:wrap']),
    },
    plan: (request, caller) => singlePlan(planDataKey(parts, request, caller), finishDataKey),
  };
}

/** KEM keys wrap with their public key alone, and so by work of another kind. */
const kindOfWrap = ({ algorithm }: KeyHandle) => (algorithm.kind === 'kem' ? 'encapsulate' : 'wrap');
const kindOfUnwrap = ({ algorithm }: KeyHandle) => (algorithm.kind === 'kem' ? 'decapsulate' : 'unwrap');

const noAad = refuse('BadRequest', 'keys of this alg take no aad');
const nothingToWrap = refuse('BadRequest', 'keys of this alg wrap one byte or more');

/** RFC 5649 has no associated data, and wraps nothing that is empty. */
export function refusalOfAad({ algorithm }: KeyHandle, aad: Uint8Array): Refused | undefined {
  return algorithm.kind === 'key_wrap' && aad.length > 0 ? noAad : undefined;
}

function planWrap(
  parts: OperationParts,
  { kid, plaintext, aad }: WrapRequest & { readonly plaintext: Uint8Array },
  caller: Caller,
): Step<OneKeyPlan> {
  return planWithKey(parts, caller, kid, {
    kind: kindOfWrap,
    item(handle) {
      const refused = refusalOfAad(handle, aad);
      if (refused !== undefined) return refused;
      if (handle.algorithm.kind === 'key_wrap' && plaintext.length === 0) return nothingToWrap;
      return ok({ inputs: [plaintext, wrapInfo(handle), aad], pricedBytes: plaintext.length });
    },
    ready: countEncryption,
  });
}

function planDataKey(
  parts: OperationParts,
  { kid, size, aad, withPlaintext }: DataKeyRequest,
  caller: Caller,
): Step<OneKeyPlan> {
  return planWithKey(parts, caller, kid, {
    kind: kindOfWrap,
    item: (handle) =>
      refusalOfAad(handle, aad) ??
      ok({
        inputs: [wordInput(size), wordInput(withPlaintext ? 1 : 0), wrapInfo(handle), aad],
        pricedBytes: size,
        op: batchOps.dataKey,
      }),
    ready: countEncryption,
  });
}

function planUnwrap(
  parts: OperationParts,
  { kid, wrapped, aad }: UnwrapRequest,
  caller: Caller,
): Step<OneKeyPlan> {
  return planWithKey(parts, caller, kid, {
    kind: kindOfUnwrap,
    item: (handle) =>
      refusalOfAad(handle, aad) ??
      ok({
        inputs: [wrapped, wrapInfo(handle), aad],
        pricedBytes: wrapped.length,
        recorded: [wrapped],
      }),
    ready(work) {
      work.refusal = notOpened;
    },
  });
}

function finishWrap({ kid }: OneKeyPlan, outcome: WorkOutcome): Result<Wrapped> {
  if (!outcome.ok) return outcome;
  const [wrapped] = outputsOf(outcome) as [Uint8Array];
  return ok({ kid, wrapped });
}

function finishDataKey({ kid }: OneKeyPlan, outcome: WorkOutcome): Result<DataKeyAnswer> {
  if (!outcome.ok) return outcome;
  const [wrapped, plaintext] = outputsOf(outcome) as [Uint8Array, Uint8Array | undefined];
  return ok({ kid, wrapped, plaintext });
}
