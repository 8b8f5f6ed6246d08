import { findAlgorithm } from '../algorithms/registry.ts';
import { type Usage, usagesOfKind } from '../algorithms/work-kinds.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import { encodePolicy } from '../keys/codec.ts';
import type { CreateKey, KeyMade } from '../keys/keyring.ts';
import { isPurpose } from '../keys/kid.ts';
import { type AuditDurability, type KeyPolicy, softwareBackend } from '../keys/record.ts';
import { refusalOfNewKey } from '../policy/migration.ts';
import { type ChangeName, changeFacts, operationIdOf } from './idempotency.ts';
import { notAllowed } from './key-work.ts';
import type { KeyOperation, NoKey, OperationParts } from './operation.ts';

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
  /** The schedule by which it gets new versions; what holds for its algorithm where it is undefined. */
  readonly rotation?: NewRotation | undefined;
  /** The home that makes it and keeps it; software where it is undefined. */
  readonly backend: string | undefined;
  readonly policy: KeyPolicy | undefined;
  readonly name: ChangeName | undefined;
}

/** Days of the current version, and the number of versions that stay. */
export type NewRotation = NonNullable<CreateKey['rotation']>;

/** The purpose, algorithm and policy of a new key. */
export type NewKey = Pick<
  CreateRequest,
  'purpose' | 'alg' | 'auditDurability' | 'usages' | 'backend' | 'policy'
>;

export function meaningOfNewKey({
  purpose,
  alg,
  auditDurability: audit,
  usages,
  rotation,
  backend,
  policy: more,
}: NewKey & Pick<CreateRequest, 'rotation'>) {
  const policy = {
    ...(backend === undefined || backend === softwareBackend ? undefined : { backend }),
    ...(more === undefined ? undefined : encodePolicy(more)),
    ...(audit === undefined ? undefined : { audit }),
    ...(usages === undefined ? undefined : { usages: usages.toSorted() }),
    ...(rotation === undefined ? undefined : { rotate_after_days: rotation.afterDays }),
    ...(rotation?.keepVersions === undefined ? undefined : { keep_versions: rotation.keepVersions }),
  };
  return { purpose, alg, ...(Object.keys(policy).length === 0 ? undefined : { policy }) };
}

export function newKeySubjects({ alg, purpose }: NewKey): NoKey {
  return { alg: findAlgorithm(alg)?.name ?? 'none', purpose };
}

/** A new key with version 1. */
export function createKeyOperation(parts: OperationParts): KeyOperation<CreateRequest, KeyMade> {
  return {
    kind: 'keys',
    name: 'create',
    scope: 'kms:create',
    subjects: newKeySubjects,
    // The keys of a token are nobody's tenant's: who adopts one takes what the operator has.
    scopes: {
      oneOf: ['kms:create'],
      of: ({ policy }) => (policy?.adopt === undefined ? ['kms:create'] : ['kms:create', 'kms:admin']),
    },
    facts(request) {
      const { purpose, alg } = request;
      const canonical = findAlgorithm(alg)?.name;
      return {
        purpose,
        alg: canonical,
        ...changeFacts(request.name, { ...meaningOfNewKey(request), alg: canonical }),
      };
    },
    run(request, caller) {
      if (request.tenant !== undefined && request.tenant !== caller.tenant) {
        return refuse('NoCapability', 'the capability is for another tenant');
      }
      const wanted = newKeyOf(parts, request, caller);
      if (!wanted.ok) return wanted;
      const rotation = request.rotation ?? parts.rotationOf(wanted.value.algorithm.name);
      return parts.keyring.create({
        ...wanted.value,
        ...(rotation === undefined ? undefined : { rotation }),
        ...operationIdOf(request.name, meaningOfNewKey(request)),
      });
    },
  };
}

const badPurpose = refuse(
  'BadRequest',
  'purpose: a-z, 0-9, dot, underscore and hyphen, at most 63, first a letter or digit',
);

/** What the keyring is asked for; refused where such a key may not be made here. */
export function newKeyOf(
  parts: OperationParts,
  { purpose, alg, auditDurability, usages, backend, policy }: NewKey,
  { tenant, actor }: Caller,
): Result<CreateKey> {
  if (!isPurpose(purpose)) return badPurpose;
  const algorithm = findAlgorithm(alg);
  if (algorithm === undefined) return refuse('Unsupported', 'unknown alg');
  if (!parts.allowedAlgorithms.has(algorithm.name)) return notAllowed;
  const outOfTime = refusalOfNewKey(parts, tenant, purpose, algorithm);
  if (outOfTime !== undefined) return outOfTime;
  if (auditDurability === 'witnessed' && parts.audit?.witnessed !== true) {
    return refuse('Unsupported', 'this service has no witness: KMS_AUDIT_WITNESS_POLICY');
  }
  const possible = usagesOfKind(algorithm.kind);
  if (usages !== undefined && (usages.length === 0 || !usages.every((usage) => possible.includes(usage))))
    return refuse('BadRequest', `policy.usages of this alg are ${possible.join(', ')}, and at least one`);
  return ok({
    ...{ tenant, actor, purpose, algorithm, maxKeysPerTenant: parts.maxKeysPerTenant },
    // In one order, whatever the order of the request.
    ...(usages && { usages: possible.filter((usage) => usages.includes(usage)) }),
    ...(auditDurability === undefined ? undefined : { auditDurability }),
    ...(backend === undefined ? undefined : { backend }),
    ...(policy === undefined ? undefined : { policy }),
  });
}
