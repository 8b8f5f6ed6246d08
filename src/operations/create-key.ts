import { findAlgorithm } from '../algorithms/registry.ts';
import { type Usage, usagesOfKind } from '../algorithms/work-kinds.ts';
import { refuse } from '../core/result.ts';
import type { KeyMade } from '../keys/keyring.ts';
import { isPurpose } from '../keys/kid.ts';
import type { AuditDurability } from '../keys/record.ts';
import { refusalOfNewKey } from '../policy/migration.ts';
import { type ChangeName, changeFacts, operationIdOf } from './idempotency.ts';
import { notAllowed } from './key-work.ts';
import type { KeyOperation, OperationParts } from './operation.ts';

export interface CreateRequest {
  /** Can only be the caller's own. */
  readonly tenant: string | undefined;
  readonly purpose: string;
  /** Name of the algorithm, or an alias of it. */
  readonly alg: string;
  /** Holds for the key as long as it lives. */
  readonly auditDurability: AuditDurability | undefined;
  /** The uses that the key is limited to, without repetition; all that its algorithm can do where it is undefined. */
  readonly usages: readonly Usage[] | undefined;
  readonly name: ChangeName | undefined;
}

function meaningOf({ purpose, alg, auditDurability: audit, usages }: CreateRequest) {
  const policy = {
    ...(audit === undefined ? undefined : { audit }),
    ...(usages === undefined ? undefined : { usages: usages.toSorted() }),
  };
  return { purpose, alg, ...(Object.keys(policy).length === 0 ? undefined : { policy }) };
}

/** A new key with version 1. */
export function createKeyOperation(parts: OperationParts): KeyOperation<CreateRequest, KeyMade> {
  return {
    kind: 'keys',
    name: 'create',
    scope: 'kms:create',
    subjects: ({ alg, purpose }) => ({ alg: findAlgorithm(alg)?.name ?? 'none', purpose }),
    facts(request) {
      const { purpose, alg } = request;
      const canonical = findAlgorithm(alg)?.name;
      return {
        purpose,
        alg: canonical,
        ...changeFacts(request.name, { ...meaningOf(request), alg: canonical }),
      };
    },
    run(request, { tenant, actor }) {
      const { purpose, auditDurability, usages } = request;
      if (request.tenant !== undefined && request.tenant !== tenant) {
        return refuse('NoCapability', 'the capability is for another tenant');
      }
      if (!isPurpose(purpose)) {
        return refuse(
          'BadRequest',
          'purpose: a-z, 0-9, dot, underscore and hyphen, at most 63, first a letter or digit',
        );
      }
      const algorithm = findAlgorithm(request.alg);
      if (algorithm === undefined) return refuse('Unsupported', 'unknown alg');
      if (!parts.allowedAlgorithms.has(algorithm.name)) return notAllowed;
      const outOfTime = refusalOfNewKey(parts, tenant, purpose, algorithm);
      if (outOfTime !== undefined) return outOfTime;
      if (auditDurability === 'witnessed' && parts.audit?.witnessed !== true) {
        return refuse('Unsupported', 'this service has no witness: KMS_AUDIT_WITNESS_POLICY');
      }
      const possible = usagesOfKind(algorithm.kind);
      if (usages?.every((usage) => possible.includes(usage)) === false || usages?.length === 0)
        return refuse('BadRequest', `policy.usages of this alg are ${possible.join(', ')}, and at least one`);
      return parts.keyring.create({
        ...{ tenant, actor, purpose, algorithm, maxKeysPerTenant: parts.maxKeysPerTenant },
        // In one order, whatever the order of the request.
        ...(usages && { usages: possible.filter((usage) => usages.includes(usage)) }),
        ...(auditDurability === undefined ? undefined : { auditDurability }),
        ...operationIdOf(request.name, meaningOf(request)),
      });
    },
  };
}
