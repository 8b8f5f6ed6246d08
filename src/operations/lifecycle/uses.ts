import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import type { PlannedWork } from '../key-work.ts';
import { type CryptoOperation, type OperationParts, type Step, singlePlan } from '../operation.ts';
import { finishEncrypt, finishOpened, planDecrypt, planEncrypt } from '../sealing/encrypt.ts';
import { finishSign, type MadeSignature, planSign } from '../sign.ts';
import { finishVerify, planVerify, type SignatureCheck } from '../verify.ts';
import {
  agreedUse,
  identified,
  lifecycleParts,
  refusalIfRevoked,
  refusalOfModule,
  refusalUnlessActive,
} from './access.ts';
import { askedOf } from './asked.ts';
import { schemeNamed } from './names.ts';
import type {
  IdentifiedCall,
  IdentifiedDecryptAnswer,
  IdentifiedDecryptRequest,
  IdentifiedEncryptAnswer,
  IdentifiedEncryptRequest,
  IdentifiedSignAnswer,
  IdentifiedSignRequest,
  IdentifiedVerifyAnswer,
  IdentifiedVerifyRequest,
} from './requests.ts';

/*
 * The uses of keys with a placement: the rules of such keys, and then the plan of the operation that uses any key. So the same
 * usages, algorithms, policies, records and turns hold for all of them.
 */

/** Signs by an active version. */
export function lifecycleSignOperation(
  parts: OperationParts,
): CryptoOperation<IdentifiedSignRequest, IdentifiedSignAnswer> {
  const name = 'lifecycle_sign';
  return {
    ...{ kind: 'crypto', batch: false, name, scope: 'kms:sign', ...askedOf(parts) },
    plan: (request, caller) =>
      singlePlan(
        planUse(parts, request, caller, refusalUnlessActive, (handle, alg) =>
          agreedUse(
            parts,
            request,
            caller,
            { operation: name, handle, refusal: (now) => refusalUnlessActive(parts, now) },
            () =>
              counted(
                parts,
                handle,
                planSign(
                  parts,
                  {
                    ...{ kids: [handle.version.kid], input: messageOf(request.data), alg },
                    ...{ mode: undefined, opId: undefined, receipts: false },
                  },
                  caller,
                ),
              ),
          ),
        ),
        (plan, outcome) => {
          const answer = finishSign(plan, outcome);
          if (!answer.ok) return answer;
          const [{ alg, signature }] = answer.value.signatures as [MadeSignature];
          return ok({ keyId: idOf(request), alg, signature });
        },
      ),
  };
}

/** Verifies by any version; see IdentifiedVerifyAnswer. Not counted, as it needs no secret. */
export function lifecycleVerifyOperation(
  parts: OperationParts,
): CryptoOperation<IdentifiedVerifyRequest, IdentifiedVerifyAnswer> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'lifecycle_verify', scope: 'kms:verify', ...askedOf(parts) },
    plan: (request, caller, ruled) =>
      singlePlan(
        planUse(parts, request, caller, nothingRefused, ({ version: { kid } }, alg) =>
          planVerify(
            parts,
            {
              ...{ input: messageOf(request.data), signatures: [{ kid, alg, signature: request.signature }] },
              ...{ mode: undefined, window: undefined, revokedToo: true },
            },
            caller,
            ruled,
          ),
        ),
        (plan, outcome) => {
          const answer = finishVerify(plan, outcome);
          if (!answer.ok) return answer;
          const [{ alg }] = answer.value.checked as readonly SignatureCheck[] as [SignatureCheck];
          return ok({ keyId: idOf(request), alg, valid: answer.value.ok });
        },
      ),
  };
}

/** Encrypts by an active version. */
export function lifecycleEncryptOperation(
  parts: OperationParts,
): CryptoOperation<IdentifiedEncryptRequest, IdentifiedEncryptAnswer> {
  const name = 'lifecycle_encrypt';
  return {
    ...{ kind: 'crypto', batch: false, name, scope: 'kms:encrypt', ...askedOf(parts) },
    plan: (request, caller) =>
      singlePlan(
        planUse(parts, request, caller, refusalUnlessActive, (handle) =>
          agreedUse(
            parts,
            request,
            caller,
            { operation: name, handle, refusal: (now) => refusalUnlessActive(parts, now) },
            () => {
              const { plaintext, aad } = request;
              const planned = planEncrypt(parts, { kid: handle.version.kid, plaintext, aad }, caller);
              return counted(parts, handle, planned);
            },
          ),
        ),
        (plan, outcome) => {
          const answer = finishEncrypt(plan, outcome);
          if (!answer.ok) return answer;
          const { nonce: iv, ciphertext } = answer.value;
          return ok({ keyId: idOf(request), alg: plan.work.alg, iv, ciphertext });
        },
      ),
  };
}

/** Decrypts by any version that is not revoked: what one made, no other opens. BadRequest, with one text: it does not open. */
export function lifecycleDecryptOperation(
  parts: OperationParts,
): CryptoOperation<IdentifiedDecryptRequest, IdentifiedDecryptAnswer> {
  const name = 'lifecycle_decrypt';
  return {
    ...{ kind: 'crypto', batch: false, name, scope: 'kms:decrypt', ...askedOf(parts) },
    plan: (request, caller) =>
      singlePlan(
        planUse(parts, request, caller, refusalIfRevoked, (handle) =>
          agreedUse(
            parts,
            request,
            caller,
            { operation: name, handle, refusal: (now) => refusalIfRevoked(parts, now) },
            () => {
              const { iv: nonce, ciphertext, aad } = request;
              return planDecrypt(parts, { kid: handle.version.kid, nonce, ciphertext, aad }, caller);
            },
          ),
        ),
        (plan, outcome) => {
          const answer = finishOpened(plan, outcome);
          if (!answer.ok) return answer;
          return ok({ keyId: idOf(request), alg: plan.work.alg, plaintext: answer.value.plaintext });
        },
      ),
  };
}

const otherAlgorithm = refuse('Unsupported', 'this key is not of this algorithm');
const nothingRefused = (): undefined => undefined;

/** The key that is named, once place, module, state and algorithm permit it. */
function planUse<Plan>(
  parts: OperationParts,
  request: IdentifiedCall & { readonly alg: string | undefined },
  caller: Caller,
  refusal: (parts: OperationParts, handle: KeyHandle) => Refused | undefined,
  plan: (handle: KeyHandle, alg: string) => Step<Plan>,
): Step<Plan> {
  const withKey = (found: Result<KeyHandle>): Step<Plan> => {
    if (!found.ok) return found;
    const handle = found.value;
    const refused = refusalOfModule(handle, caller) ?? refusal(parts, handle);
    if (refused !== undefined) return refused;
    const alg = schemeNamed(handle, request.alg);
    return alg === undefined ? otherAlgorithm : plan(handle, alg);
  };
  const found = identified(parts, request, caller);
  return found instanceof Promise ? found.then(withKey) : withKey(found);
}

/** What is made with a key counts towards its limit of a day: of all its versions together, so that a rotation gives no more. */
function counted<Plan extends { readonly work: PlannedWork }>(
  parts: OperationParts,
  handle: KeyHandle,
  planned: Step<Plan>,
): Step<Plan> {
  if (planned instanceof Promise) return planned.then((later) => counted(parts, handle, later));
  const { id: keyId, access } = handle.head;
  const most = access?.maxUsagePerDay ?? lifecycleParts(parts).usesPerDay;
  if (planned.ok && most !== Number.POSITIVE_INFINITY) planned.value.work.daily = { keyId, most };
  return planned;
}

function messageOf(bytes: Uint8Array) {
  return { form: 'message', bytes, hash: undefined, context: undefined, payloadBlake3: undefined } as const;
}

function idOf({ keyId }: IdentifiedCall): string {
  return keyId.toLowerCase();
}
