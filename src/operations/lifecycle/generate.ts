import type { Algorithm } from '../../algorithms/descriptor.ts';
import { pemOf, spkiOf } from '../../algorithms/public-formats.ts';
import { ownMember } from '../../core/own-member.ts';
import { ok, type Refused, refuse } from '../../core/result.ts';
import { isAlias, isModule } from '../../keys/lifecycle/names.ts';
import { type KeyAccess, softwareBackend } from '../../keys/record.ts';
import { newKeyOf } from '../create-key.ts';
import { changeFacts, operationIdOf } from '../idempotency.ts';
import type { KeyOperation, OperationParts } from '../operation.ts';
import { agreementTo, refusalOfPlace, refusalWithoutAgreement } from './access.ts';
import { algorithmOfType } from './names.ts';
import { usualRotationDays } from './parts.ts';
import type { GenerateRequest, KeyGenerated } from './requests.ts';

const usualPurpose = 'kms';
/** A year of days is more than anybody lists, and a record of 4 KiB holds them. */
const maxModules = 64;
const maxUsesPerDay = 1_000_000_000;

const unknownType = refuse('Unsupported', 'unknown key type');
const severalParts = refuse(
  'Unsupported',
  'keys of this type have several public keys, and their signatures several parts',
);
const badAlias = refuse('BadRequest', 'an alias has 1 to 128 of A-Z a-z 0-9 . _ : / @ + -');
const isPast = refuse('BadRequest', 'the end of the key is past');
const badAccess = refuse(
  'BadRequest',
  'access: 1 to 64 modules, each once, of 1 to 128 printable characters; 1 to 1,000,000,000 uses a day',
);

/** A new key with a placement. */
export function lifecycleGenerateOperation(
  parts: OperationParts,
): KeyOperation<GenerateRequest, KeyGenerated> {
  const name = 'lifecycle_generate';
  return {
    ...{ kind: 'keys', name, scope: 'kms:create' },
    subjects: ({ keyType, purpose = usualPurpose }) => ({
      alg: algorithmOfType(keyType)?.name ?? 'none',
      purpose,
    }),
    facts: (request) => ({
      purpose: request.purpose ?? usualPurpose,
      alg: algorithmOfType(request.keyType)?.name,
      ...changeFacts(request.name, meaningOf(request)),
      requestSha256: () => request.requestSha256,
    }),
    receipt: (request, _caller, answer) => ({
      ...{ environment: request?.environment, plane: request?.plane, keyId: answer?.keyId },
      alg: request && algorithmOfType(request.keyType)?.name,
    }),
    async run(request, caller) {
      const refused =
        refusalOfPlace(request, caller) ??
        refusalOfRequest(request, parts) ??
        refusalWithoutAgreement(request);
      if (refused !== undefined) return refused;
      const { environment, plane, alias, validUntilMs, access, requestSha256 } = request;
      const algorithm = algorithmOfType(request.keyType);
      if (algorithm === undefined) return unknownType;
      if (algorithm.components.length > 1) return severalParts;
      const wanted = newKeyOf(
        parts,
        {
          ...{ purpose: request.purpose ?? usualPurpose, alg: algorithm.name, usages: request.usages },
          ...{ auditDurability: undefined, backend: request.backend, policy: undefined },
        },
        caller,
      );
      if (!wanted.ok) return wanted;
      const rotation = request.rotation ?? rotationOf(parts, algorithm);
      const made = await parts.keyring.create({
        ...wanted.value,
        placement: { environment, plane },
        ...(alias === undefined ? undefined : { alias }),
        ...(validUntilMs === undefined ? undefined : { validUntilMs }),
        ...(access === undefined || Object.keys(access).length === 0 ? undefined : { access }),
        ...(rotation === undefined ? undefined : { rotation }),
        ...operationIdOf(request.name, meaningOf(request)),
        agreed: agreementTo(parts, request, caller, { operation: name, requestSha256 }),
      });
      if (!made.ok) return made;
      const { kid, createdAtMs, publicKeys, keyId = '', replayed } = made.value;
      const publicKeyPem = publicPem(algorithm, kid, publicKeys);
      return ok({ keyId, kid, alg: algorithm.name, createdAtMs, publicKeyPem, replayed });
    },
  };
}

/** The schedule of new keys with a placement: what is configured for the algorithm, or what is usual. */
export function rotationOf(
  parts: Pick<OperationParts, 'rotationOf'>,
  { name }: Algorithm,
): { readonly afterDays: number } | undefined {
  const afterDays = ownMember(usualRotationDays, name);
  return parts.rotationOf(name) ?? (afterDays === undefined ? undefined : { afterDays });
}

/** SubjectPublicKeyInfo as PEM; undefined where the key is secret. */
export function publicPem(
  algorithm: Algorithm,
  kid: string,
  publicKeys: readonly Uint8Array[],
): string | undefined {
  const spki = spkiOf({ algorithm, kid, publicKeys });
  return spki && pemOf('PUBLIC KEY', spki);
}

function refusalOfRequest(
  { alias, validUntilMs, access }: GenerateRequest,
  { clock }: Pick<OperationParts, 'clock'>,
): Refused | undefined {
  if (alias !== undefined && !isAlias(alias)) return badAlias;
  if (validUntilMs !== undefined && validUntilMs <= clock.utcMs()) return isPast;
  return access === undefined || isAccess(access) ? undefined : badAccess;
}

function isAccess({ allowedModules: modules, maxUsagePerDay: uses }: KeyAccess): boolean {
  const areModules =
    modules === undefined ||
    (modules.length > 0 &&
      modules.length <= maxModules &&
      new Set(modules).size === modules.length &&
      modules.every(isModule));
  return areModules && (uses === undefined || (Number.isInteger(uses) && uses >= 1 && uses <= maxUsesPerDay));
}

/** One plain spelling: its members are never renamed, as digests of it are kept. */
function meaningOf(request: GenerateRequest) {
  const { environment, plane, alias, validUntilMs, access, rotation, usages, purpose, backend } = request;
  return {
    ...{ environment, plane, type: algorithmOfType(request.keyType)?.name ?? request.keyType },
    usages: usages.toSorted(),
    ...(purpose === undefined || purpose === usualPurpose ? undefined : { purpose }),
    ...(backend === undefined || backend === softwareBackend ? undefined : { backend }),
    ...(alias === undefined ? undefined : { alias }),
    ...(validUntilMs === undefined ? undefined : { valid_until_ms: validUntilMs }),
    ...(access === undefined ? undefined : { access: meaningOfAccess(access) }),
    ...(rotation === undefined ? undefined : { rotate_after_days: rotation.afterDays }),
    ...(rotation?.keepVersions === undefined ? undefined : { keep_versions: rotation.keepVersions }),
  };
}

function meaningOfAccess({ allowedModules, requiresApproval, maxUsagePerDay }: KeyAccess) {
  return {
    ...(allowedModules && { modules: allowedModules.toSorted() }),
    ...(requiresApproval && { approval: true }),
    ...(maxUsagePerDay === undefined ? undefined : { per_day: maxUsagePerDay }),
  };
}
