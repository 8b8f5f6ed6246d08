import type { SchemeEntry } from '../../algorithms/descriptor.ts';
import type { Refused, Result } from '../../core/result.ts';
import { ok } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import { type CryptoPlan, type OperationParts, type Step, singlePlan } from '../operation.ts';
import { finishSign, planSign, type SignAnswer } from '../sign.ts';

/** A document that names its key, and so is made once the key is found: signed as a message by one of its schemes. */
export interface SignedDocument<Answer> {
  readonly message: Uint8Array;
  readonly scheme: SchemeEntry;
  finish(signature: Uint8Array): Answer;
}

/** Plans the signature over a document of this key, which policy, limits and audit see as that of a message. */
export async function planDocument<Answer>(
  parts: OperationParts,
  { kid, opId }: { readonly kid: string; readonly opId: string | undefined },
  caller: Caller,
  make: (handle: KeyHandle) => Step<SignedDocument<Answer>>,
): Promise<Result<CryptoPlan<Answer>>> {
  const found = await parts.keyring.find(caller.tenant, kid);
  if (!found.ok) return found;
  const document = await make(found.value);
  if (!document.ok) return document;
  const { message, scheme, finish } = document.value;
  const request = {
    kids: [found.value.version.kid],
    input: { form: 'message', bytes: message, hash: undefined, context: undefined, payloadBlake3: undefined },
    alg: scheme.alg,
    mode: undefined,
    receipts: false,
    opId,
  } as const;
  return singlePlan(planSign(parts, request, caller), (plan, outcome): Result<Answer> => {
    const signed: Refused | Result<SignAnswer> = finishSign(plan, outcome);
    if (!signed.ok) return signed;
    const [made] = signed.value.signatures as [SignAnswer['signatures'][number]];
    return ok(finish(made.signature));
  });
}
