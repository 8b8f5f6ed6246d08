import type { KeyDestroyed } from '../keys/keyring.ts';
import { type ChangeName, changeFacts, operationIdOf } from './idempotency.ts';
import type { KeyOperation, OperationParts } from './operation.ts';
import { refusalOfChange } from './rotate-key.ts';

export interface DestroyRequest {
  readonly kid: string;
  /** Of an old version; also where the kid names it. */
  readonly version: number | undefined;
  readonly name: ChangeName | undefined;
}

/** The private part of a key, or of one old version, is gone for good. */
export function destroyKeyOperation(parts: OperationParts): KeyOperation<DestroyRequest, KeyDestroyed> {
  return {
    kind: 'keys',
    name: 'destroy',
    scope: 'kms:destroy',
    subjects: ({ kid }) => [kid],
    facts: ({ kid, version, name }) => ({
      ...changeFacts(name, version === undefined ? {} : { version }),
      // The version may stand in either place.
      ...(version === undefined || kid.includes('#') ? undefined : { kids: [`${kid}#v${version}`] }),
    }),
    async run({ kid, version, name }, caller) {
      const { tenant, actor } = caller;
      const refused = await refusalOfChange(parts, caller, kid);
      if (refused !== undefined) return refused;
      return parts.keyring.destroy({
        ...{ tenant, actor, kid },
        ...(version === undefined ? undefined : { version }),
        // The keyring knows the version from the request or from the kid, and compares it itself.
        ...operationIdOf(name, {}),
      });
    },
  };
}
