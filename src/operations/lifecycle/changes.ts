import { ok, type Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import { archivedSince } from '../../keys/lifecycle/states.ts';
import { changeFacts, operationIdOf } from '../idempotency.ts';
import type { KeyOperation, OperationParts } from '../operation.ts';
import { refusalOfRotation } from '../rotate-key.ts';
import {
  agreementTo,
  identified,
  lifecycleParts,
  refusalIfRevoked,
  refusalUnlessActive,
  refusalWithoutAgreement,
} from './access.ts';
import { askedOf } from './asked.ts';
import { publicPem } from './generate.ts';
import type {
  ApprovableCall,
  ArchiveAnswer,
  ArchiveRequest,
  IdentifiedCall,
  IdentifiedRotateAnswer,
  IdentifiedRotateRequest,
  RevokeAnswer,
  RevokeRequest,
} from './requests.ts';

/** A new version of an active key, which is the active one from then on; the one before is in its time of grace. */
export function lifecycleRotateOperation(
  parts: OperationParts,
): KeyOperation<IdentifiedRotateRequest, IdentifiedRotateAnswer> {
  const name = 'lifecycle_rotate';
  const asked = askedOf(parts);
  return {
    ...{ kind: 'keys', name, scope: 'kms:rotate', ...asked },
    receipt: (request, _caller, answer) => ({ ...asked.receipt(request), alg: answer?.alg }),
    facts: ({ name }) => changeFacts(name, {}),
    async run(request, caller) {
      const change = await changeOf(parts, request, caller, name);
      if (!change.ok) return change;
      const { handle, agreed, tenant, actor } = change.value;
      const { kid, keyId: oldKeyId = '' } = handle.version;
      const refused =
        // Who repeats a rotation names a version that was active.
        (request.name === undefined ? refusalUnlessActive : refusalIfRevoked)(parts, handle) ??
        refusalOfRotation(parts, tenant, kid);
      if (refused !== undefined) return refused;
      const made = await parts.keyring.rotate({
        ...{ tenant, actor, kid, agreed },
        ...operationIdOf(request.name, {}),
      });
      if (!made.ok) return made;
      const { algorithm, publicKeys, keyId: newKeyId = '', replayed } = made.value;
      const newPublicKeyPem = publicPem(algorithm, made.value.kid, publicKeys);
      return ok({ oldKeyId, newKeyId, alg: algorithm.name, newPublicKeyPem, replayed });
    },
  };
}

/** The private part of a version is gone for good, whatever the reason. */
export function lifecycleRevokeOperation(parts: OperationParts): KeyOperation<RevokeRequest, RevokeAnswer> {
  const name = 'lifecycle_revoke';
  return {
    ...{ kind: 'keys', name, scope: 'kms:destroy', ...askedOf(parts) },
    facts: ({ reason }) => changeFacts(undefined, { reason }),
    async run(request, caller) {
      const change = await changeOf(parts, request, caller, name);
      if (!change.ok) return change;
      const { handle, agreed, tenant, actor } = change.value;
      const { kid, keyId = '' } = handle.version;
      const done = await parts.keyring.revoke({ tenant, actor, kid, agreed, reason: request.reason });
      return done.ok ? ok({ keyId, revokedAtMs: done.value.revokedAtMs }) : done;
    },
  };
}

/** A version makes nothing new from now on, and goes on opening and verifying. One that is archived already stays as it is. */
export function lifecycleArchiveOperation(
  parts: OperationParts,
): KeyOperation<ArchiveRequest, ArchiveAnswer> {
  const name = 'lifecycle_archive';
  return {
    ...{ kind: 'keys', name, scope: 'kms:destroy', ...askedOf(parts) },
    facts: () => changeFacts(undefined, {}),
    async run(request, caller) {
      const change = await changeOf(parts, request, caller, name);
      if (!change.ok) return change;
      const { handle, agreed, tenant, actor } = change.value;
      const { head, version } = handle;
      const { kid, keyId = '' } = version;
      const refused = refusalIfRevoked(parts, handle);
      if (refused !== undefined) return refused;
      const since = archivedSince(head, version, parts.clock.utcMs(), lifecycleParts(parts).graceMs);
      if (since !== undefined) return ok({ keyId, archivedAtMs: since });
      const done = await parts.keyring.archive({ tenant, actor, kid, agreed });
      return done.ok ? ok({ keyId, archivedAtMs: done.value.archivedAtMs }) : done;
    },
  };
}

/** The key that is to be changed, and the agreement that the change needs: used up where nothing else stands against it. */
async function changeOf(
  parts: OperationParts,
  request: IdentifiedCall & ApprovableCall,
  caller: Caller,
  operation: string,
): Promise<
  Result<{ handle: KeyHandle; agreed: ReturnType<typeof agreementTo>; tenant: string; actor: string }>
> {
  const found = await identified(parts, request, caller);
  if (!found.ok) return found;
  const refused = refusalWithoutAgreement(request);
  if (refused !== undefined) return refused;
  const keyId = request.keyId.toLowerCase();
  const agreed = agreementTo(parts, request, caller, { operation, keyId });
  const { tenant, actor } = caller;
  return ok({ handle: found.value, agreed, tenant, actor });
}
