import { type Static, Type } from '@sinclair/typebox';
import { findAlgorithm } from '../algorithms/registry.ts';
import { ok, refuse } from '../core/result.ts';
import { isPurpose } from '../keys/kid.ts';
import { auditDurabilities } from '../keys/record.ts';
import { operationIdOf } from './idempotency.ts';
import type { KeyOperation, OperationParts } from './operation.ts';
import { shapeOf } from './parse.ts';
import { presentPublicKey, timestamp } from './present.ts';
import { algorithmText, closed, operationId } from './schemas.ts';

/** Terms that hold for a key as long as it lives. */
const keyPolicy = closed({
  audit: Type.Optional(Type.Union(auditDurabilities.map((level) => Type.Literal(level)))),
});

const createRequest = closed({
  op_id: Type.Optional(operationId),
  tenant: Type.Optional(Type.String({ maxLength: 63 })),
  purpose: Type.String({ minLength: 1, maxLength: 63 }),
  alg: algorithmText,
  policy: Type.Optional(Type.Union([Type.Null(), keyPolicy])),
});
const shape = shapeOf(createRequest);

/** A null or empty policy is none, and the tenant can only be the caller's own. */
function meaningOf({ purpose, alg, policy }: Static<typeof createRequest>): unknown {
  return { purpose, alg, ...(policy?.audit === undefined ? undefined : { policy: { audit: policy.audit } }) };
}

/** POST /keys: a new key with version 1. */
export function createKeyOperation(parts: OperationParts): KeyOperation<Static<typeof createRequest>> {
  return {
    kind: 'keys',
    name: 'create',
    scope: 'kms:create',
    parse: (request) => shape.parse(request),
    subjects: ({ alg }) => ({ alg: findAlgorithm(alg)?.name ?? 'none' }),
    async run(request, caller) {
      if (request.tenant !== undefined && request.tenant !== caller.tenant) {
        return refuse('NoCapability', 'the capability is for another tenant');
      }
      if (!isPurpose(request.purpose)) {
        return refuse(
          'BadRequest',
          'purpose: a-z, 0-9, dot, underscore and hyphen, at most 63, first a letter or digit',
        );
      }
      const algorithm = findAlgorithm(request.alg);
      if (algorithm === undefined) return refuse('Unsupported', 'unknown alg');
      if (!parts.allowedAlgorithms.has(algorithm.name)) {
        return refuse('PolicyViolation', 'this algorithm is not allowed here');
      }
      if (request.policy?.audit === 'witnessed' && parts.audit?.witnessed !== true) {
        return refuse('Unsupported', 'this service has no witness: KMS_AUDIT_WITNESS_POLICY');
      }
      const made = await parts.keyring.create({
        tenant: caller.tenant,
        actor: caller.actor,
        purpose: request.purpose,
        algorithm,
        ...(request.policy?.audit === undefined ? undefined : { auditDurability: request.policy.audit }),
        ...operationIdOf(request, meaningOf(request)),
      });
      if (!made.ok) return made;
      const { kid, createdAtMs, publicKeys } = made.value;
      return ok({
        status: 201,
        body: { kid, public: presentPublicKey(algorithm, publicKeys), created_at: timestamp(createdAtMs) },
      });
    },
  };
}
