import { type Static, Type } from '@sinclair/typebox';
import { ok, refuse } from '../core/result.ts';
import { parseKid } from '../keys/kid.ts';
import { operationIdOf } from './idempotency.ts';
import type { KeyOperation, OperationParts } from './operation.ts';
import { emptyObject, shapeOf } from './parse.ts';
import { presentPublicKey } from './present.ts';
import { closed, operationId } from './schemas.ts';

const rotateRequest = closed({ op_id: Type.Optional(operationId) });
const shape = shapeOf(rotateRequest);

/** POST /keys/{kid}/rotate: a new current version; earlier ones go on verifying. */
export function rotateKeyOperation(
  parts: OperationParts,
): KeyOperation<{ readonly kid: string; readonly request: Static<typeof rotateRequest> }> {
  return {
    kind: 'keys',
    name: 'rotate',
    scope: 'kms:rotate',
    parse({ kid, query, body }) {
      const request = shape.parse({ query, body: body.length === 0 ? emptyObject : body });
      return request.ok ? ok({ kid: kid ?? '', request: request.value }) : request;
    },
    subjects: ({ kid }) => [kid],
    async run({ kid, request }, caller) {
      const named = parseKid(kid);
      if (named?.tenant === caller.tenant && !parts.allowedAlgorithms.has(named.algorithm.name)) {
        return refuse('PolicyViolation', 'this algorithm is not allowed here');
      }
      const made = await parts.keyring.rotate({
        tenant: caller.tenant,
        actor: caller.actor,
        kid,
        ...operationIdOf(request, {}),
      });
      if (!made.ok) return made;
      const { algorithm, previous, publicKeys } = made.value;
      return ok({
        status: 200,
        body: { kid: made.value.kid, previous, public: presentPublicKey(algorithm, publicKeys) },
      });
    },
  };
}
