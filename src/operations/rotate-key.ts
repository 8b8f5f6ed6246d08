import type { Refused } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { KeyMade } from '../keys/keyring.ts';
import { parseKid } from '../keys/kid.ts';
import { refusalOfNewKey } from '../policy/migration.ts';
import { type ChangeName, changeFacts, operationIdOf } from './idempotency.ts';
import { forCaller, notAllowed } from './key-work.ts';
import type { KeyOperation, OperationParts } from './operation.ts';

export interface RotateRequest {
  readonly kid: string;
  readonly name: ChangeName | undefined;
}

/** A new current version; earlier ones go on verifying. */
export function rotateKeyOperation(parts: OperationParts): KeyOperation<RotateRequest, KeyMade> {
  return {
    kind: 'keys',
    name: 'rotate',
    scope: 'kms:rotate',
    subjects: ({ kid }) => [kid],
    facts: ({ name }) => changeFacts(name, {}),
    async run({ kid, name }, caller) {
      const { tenant, actor } = caller;
      const refused = refusalOfRotation(parts, tenant, kid) ?? (await refusalOfChange(parts, caller, kid));
      return refused ?? parts.keyring.rotate({ tenant, actor, kid, ...operationIdOf(name, {}) });
    },
  };
}

/** The refusal of a change of a key with a placement, by a caller without. What is not there, the keyring says itself. */
export async function refusalOfChange(
  { keyring }: Pick<OperationParts, 'keyring'>,
  caller: Caller,
  kid: string,
): Promise<Refused | undefined> {
  if (caller.placement !== undefined) return undefined;
  const found = await keyring.find(caller.tenant, kid);
  const forIt = found.ok ? forCaller(found, caller) : found;
  return found.ok && !forIt.ok ? forIt : undefined;
}

/** The refusal of a new version of a key of which no new one may be made here. */
export function refusalOfRotation(parts: OperationParts, tenant: string, kid: string): Refused | undefined {
  const named = parseKid(kid);
  if (named?.tenant !== tenant) return undefined;
  if (!parts.allowedAlgorithms.has(named.algorithm.name)) return notAllowed;
  return refusalOfNewKey(parts, tenant, named.purpose, named.algorithm);
}
