import type { KeyDestroyed } from '../keys/keyring.ts';
import { type ChangeName, operationIdOf } from './idempotency.ts';
import type { KeyOperation, OperationParts } from './operation.ts';

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
    run: ({ kid, version, name }, { tenant, actor }) =>
      parts.keyring.destroy({
        ...{ tenant, actor, kid },
        ...(version === undefined ? undefined : { version }),
        // The keyring knows the version from the request or from the kid, and compares it itself.
        ...operationIdOf(name, {}),
      }),
  };
}
