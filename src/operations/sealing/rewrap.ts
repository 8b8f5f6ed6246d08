import { ok, type Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyHandle, LoadedPart } from '../../keys/keyring.ts';
import { addKey, planWork, refusalOfVersion, withKeys } from '../key-work.ts';
import {
  type CryptoOperation,
  type OperationParts,
  type Step,
  singlePlan,
  useOf,
  type WorkOutcome,
} from '../operation.ts';
import { outputsOf } from './encrypt.ts';
import { countEncryption, type KeyItem, notOpened, type OneKeyPlan, planItem, wrapInfo } from './one-key.ts';
import { refusalOfAad } from './wrap.ts';

export interface RewrapRequest {
  /** Names the version that wrapped or encrypted; without one the current version. */
  readonly kid: string;
  readonly from: { readonly wrapped: Uint8Array } | Encrypted;
  readonly aad: Uint8Array;
}

interface Encrypted {
  readonly nonce: Uint8Array;
  readonly ciphertext: Uint8Array;
}

export interface RewrapAnswer {
  /** Names the version that is current. */
  readonly kid: string;
  /** In the form in which it came; views of the workers' response. */
  readonly to: RewrapRequest['from'];
}

/**
 * What a version wrapped or encrypted, wrapped or encrypted by the current one. The plaintext stays in the engine; who asks needs
 * the scopes of both halves all the same, as the answer is as good as what it was made of.
 */
export function rewrapOperation(parts: OperationParts): CryptoOperation<RewrapRequest, RewrapAnswer> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'rewrap', scope: 'kms:unwrap' },
    subjects: ({ kid }) => [kid],
    scopes: {
      oneOf: ['kms:unwrap', 'kms:decrypt'],
      of: ({ from }) => ('wrapped' in from ? ['kms:unwrap', 'kms:wrap'] : ['kms:decrypt', 'kms:encrypt']),
    },
    plan: (request, caller) => singlePlan(planRewrap(parts, request, caller), finishRewrap),
  };
}

function planRewrap(parts: OperationParts, request: RewrapRequest, caller: Caller): Step<OneKeyPlan> {
  const { kid } = request;
  const hash = kid.indexOf('#');
  const id = hash < 0 ? kid : kid.slice(0, hash);
  return withKeys(parts.keyring, caller, [kid, id], (handles) => {
    const [before, after] = handles as [Result<KeyHandle>, Result<KeyHandle>];
    if (!before.ok) return before;
    return after.ok ? planBetween(parts, request, before.value, after.value) : after;
  });
}

function planBetween(
  parts: OperationParts,
  { from, aad }: RewrapRequest,
  before: KeyHandle,
  after: KeyHandle,
): Result<OneKeyPlan> {
  const work = planWork('wrapped' in from ? 'rewrap' : 'reencrypt');
  const refused =
    addKey(parts, work, before) ??
    refusalOfVersion(work, before) ??
    refusalOfVersion(work, after) ??
    refusalOfAad(before, aad);
  if (refused !== undefined) return refused;
  if (after.version.version !== before.version.version) work.uses.push(useOf(after, parts.evidence));
  countEncryption(work, after);
  work.refusal = notOpened;
  planItem(parts, work, before.version, itemOf(from, aad, before, after));
  return ok({ work, kid: after.version.kid });
}

function itemOf(from: RewrapRequest['from'], aad: Uint8Array, before: KeyHandle, after: KeyHandle): KeyItem {
  const newKey = keyToWrapWith(after);
  if ('wrapped' in from) {
    const { wrapped } = from;
    return {
      inputs: [newKey, wrapped, wrapInfo(before), wrapInfo(after), aad],
      pricedBytes: wrapped.length,
      recorded: [wrapped],
    };
  }
  const { nonce, ciphertext } = from;
  return {
    inputs: [newKey, nonce, ciphertext, aad],
    pricedBytes: ciphertext.length,
    recorded: [nonce, ciphertext],
  };
}

function keyToWrapWith({ algorithm, version }: KeyHandle): Uint8Array {
  const [part] = version.parts as [LoadedPart];
  return algorithm.kind === 'kem' ? part.publicKey : part.keyReference;
}

function finishRewrap({ work, kid }: OneKeyPlan, outcome: WorkOutcome): Result<RewrapAnswer> {
  if (!outcome.ok) return outcome;
  const [first, second] = outputsOf(outcome) as [Uint8Array, Uint8Array];
  return ok({ kid, to: work.kind === 'rewrap' ? { wrapped: first } : { nonce: first, ciphertext: second } });
}
