import type { Refused } from '../core/result.ts';
import type { KeyMade } from '../keys/keyring.ts';
import { parseKid } from '../keys/kid.ts';
import { refusalOfNewKey } from '../policy/migration.ts';
import { type ChangeName, changeFacts, operationIdOf } from './idempotency.ts';
import { notAllowed } from './key-work.ts';
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
    run({ kid, name }, { tenant, actor }) {
      const refused = refusalOfRotation(parts, tenant, kid);
      return refused ?? parts.keyring.rotate({ tenant, actor, kid, ...operationIdOf(name, {}) });
    },
  };
}

/** The refusal of a new version of a key of which no new one may be made here. */
export function refusalOfRotation(parts: OperationParts, tenant: string, kid: string): Refused | undefined {
  const named = parseKid(kid);
  if (named?.tenant !== tenant) return undefined;
  if (!parts.allowedAlgorithms.has(named.algorithm.name)) return notAllowed;
  return refusalOfNewKey(parts, tenant, named.purpose, named.algorithm);
}
