import { ok, type Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { BatchResult } from '../../engine/batch.ts';
import { type BatchAnswer, type BatchRequest, batchOperation } from '../batch.ts';
import {
  type CryptoOperation,
  type OperationParts,
  type Step,
  singlePlan,
  type WorkOutcome,
} from '../operation.ts';
import { countEncryption, namedKey, notOpened, type OneKeyPlan, planWithKey } from './one-key.ts';

export interface EncryptRequest {
  readonly kid: string;
  /** At most 64 KiB. */
  readonly plaintext: Uint8Array;
  /** Authenticated with it, and not part of it. */
  readonly aad: Uint8Array;
}

export interface EncryptAnswer {
  /** Names the version that encrypted, which is the one that decrypts. */
  readonly kid: string;
  /** Made by the engine, 12 bytes or 24; a view of the workers' response, as the ciphertext is. */
  readonly nonce: Uint8Array;
  /** With the tag of 16 bytes at its end. */
  readonly ciphertext: Uint8Array;
}

export interface DecryptRequest {
  /** Without a version: the current one, and no other is tried. */
  readonly kid: string;
  readonly nonce: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly aad: Uint8Array;
}

export interface Opened {
  readonly kid: string;
  /** A view of the workers' response, not a copy. */
  readonly plaintext: Uint8Array;
}

/** Encrypts by the current version of an AEAD key, with a nonce that is made for it. */
export function encryptOperation(parts: OperationParts): CryptoOperation<EncryptRequest, EncryptAnswer> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'encrypt', scope: 'kms:encrypt', subjects: namedKey },
    plan: (request, caller) => singlePlan(planEncrypt(parts, request, caller), finishEncrypt),
  };
}

/** Decrypts by one version that is not destroyed. BadRequest, with one text: it does not open. */
export function decryptOperation(parts: OperationParts): CryptoOperation<DecryptRequest, Opened> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'decrypt', scope: 'kms:decrypt', subjects: namedKey },
    plan: (request, caller) => singlePlan(planDecrypt(parts, request, caller), finishOpened),
  };
}

export function encryptBatchOperation(
  parts: OperationParts,
): CryptoOperation<BatchRequest<EncryptRequest>, BatchAnswer<EncryptAnswer>> {
  return batchOperation<EncryptRequest, OneKeyPlan, EncryptAnswer>('encrypt_batch', 'kms:encrypt', parts, {
    subjects: namedKey,
    finish: finishEncrypt,
    plan: (_parts, request, caller) => planEncrypt(parts, request, caller),
  });
}

export function decryptBatchOperation(
  parts: OperationParts,
): CryptoOperation<BatchRequest<DecryptRequest>, BatchAnswer<Opened>> {
  return batchOperation<DecryptRequest, OneKeyPlan, Opened>('decrypt_batch', 'kms:decrypt', parts, {
    subjects: namedKey,
    finish: finishOpened,
    plan: (_parts, request, caller) => planDecrypt(parts, request, caller),
  });
}

export function planEncrypt(
  parts: OperationParts,
  { kid, plaintext, aad }: EncryptRequest,
  caller: Caller,
): Step<OneKeyPlan> {
  return planWithKey(parts, caller, kid, {
    kind: () => 'encrypt',
    item: () => ok({ inputs: [plaintext, aad], pricedBytes: plaintext.length }),
    ready: countEncryption,
  });
}

export function planDecrypt(
  parts: OperationParts,
  { kid, nonce, ciphertext, aad }: DecryptRequest,
  caller: Caller,
): Step<OneKeyPlan> {
  const item = ok({
    inputs: [nonce, ciphertext, aad] as const,
    pricedBytes: ciphertext.length,
    recorded: [nonce, ciphertext],
  });
  return planWithKey(parts, caller, kid, {
    kind: () => 'decrypt',
    item: () => item,
    ready(work) {
      work.refusal = notOpened;
    },
  });
}

export function finishEncrypt({ kid }: OneKeyPlan, outcome: WorkOutcome): Result<EncryptAnswer> {
  if (!outcome.ok) return outcome;
  const [nonce, ciphertext] = outputsOf(outcome) as [Uint8Array, Uint8Array];
  return ok({ kid, nonce, ciphertext });
}

export function finishOpened({ kid }: OneKeyPlan, outcome: WorkOutcome): Result<Opened> {
  if (!outcome.ok) return outcome;
  const [plaintext] = outputsOf(outcome) as [Uint8Array];
  return ok({ kid, plaintext });
}

/** Of a work with one item that was done. */
export function outputsOf({ value }: Extract<WorkOutcome, { ok: true }>): readonly Uint8Array[] {
  return (value.results[0] as BatchResult).outputs;
}
