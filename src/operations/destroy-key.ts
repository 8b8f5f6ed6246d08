import { type Static, Type } from '@sinclair/typebox';
import { ok } from '../core/result.ts';
import { operationIdOf } from './idempotency.ts';
import type { KeyOperation, OperationParts } from './operation.ts';
import { emptyObject, shapeOf } from './parse.ts';
import { closed, operationId } from './schemas.ts';

const destroyRequest = closed({
  op_id: Type.Optional(operationId),
  version: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647 })),
});
const shape = shapeOf(destroyRequest);

/** POST /keys/{kid}/destroy: the private part of a key, or of one old version, is gone for good. */
export function destroyKeyOperation(
  parts: OperationParts,
): KeyOperation<{ readonly kid: string; readonly request: Static<typeof destroyRequest> }> {
  return {
    kind: 'keys',
    name: 'destroy',
    scope: 'kms:destroy',
    parse({ kid, query, body }) {
      const request = shape.parse({ query, body: body.length === 0 ? emptyObject : body });
      return request.ok ? ok({ kid: kid ?? '', request: request.value }) : request;
    },
    subjects: ({ kid }) => [kid],
    async run({ kid, request }, caller) {
      const destroyed = await parts.keyring.destroy({
        tenant: caller.tenant,
        actor: caller.actor,
        kid,
        ...(request.version === undefined ? undefined : { version: request.version }),
        // The keyring knows the version from the body or from the kid, and compares it itself.
        ...operationIdOf(request, {}),
      });
      return destroyed.ok
        ? ok({ status: 200, body: { kid: destroyed.value.kid, state: 'destroyed' } })
        : destroyed;
    },
  };
}
