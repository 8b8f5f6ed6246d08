import { setImmediate } from 'node:timers/promises';
import type { Algorithm } from '../../algorithms/descriptor.ts';
import { usagesOfKind } from '../../algorithms/work-kinds.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { DescribedVersion, KeyHandle } from '../../keys/keyring.ts';
import { isUuid } from '../../keys/kid.ts';
import { archivedSince, lifecycleOf } from '../../keys/lifecycle/states.ts';
import type { KeyHead, KeyPlacement } from '../../keys/record.ts';
import type { KeyOperation, OperationParts } from '../operation.ts';
import { identified, lifecycleParts, refusalOfPlace } from './access.ts';
import { askedOf } from './asked.ts';
import { publicPem } from './generate.ts';
import { keySizeBits } from './names.ts';
import type {
  IdentifiedListRequest,
  IdentifiedPage,
  IdentifiedReadRequest,
  KeyMetadata,
} from './requests.ts';

const defaultLimit = 100;
const maxLimit = 1_000;
/** Read in one go, each with two look-ups in the store: about 1 ms. */
const namesPerPage = 64;
/** Versions that one call looks at when a filter passes few of them; then it ends with a cursor. */
const maxScanned = 64 * namesPerPage;

const badLimit = refuse('BadRequest', `limit is 1 to ${maxLimit}`);
const badCursor = refuse('BadRequest', 'this cursor does not belong to this listing');

/** Everything but secrets of the version that a key_id names, whatever its state. */
export function lifecycleReadOperation(
  parts: OperationParts,
): KeyOperation<IdentifiedReadRequest, KeyMetadata> {
  return {
    ...{ kind: 'keys', name: 'lifecycle_read', scope: 'kms:read', ...askedOf(parts) },
    async run(request, caller) {
      const found = await identified(parts, request, caller);
      return found.ok ? ok(metadataOf(parts, found.value)) : found;
    },
  };
}

/** Versions of keys of one place, or of the one key that has an alias there. */
export function lifecycleListOperation(
  parts: OperationParts,
): KeyOperation<IdentifiedListRequest, IdentifiedPage> {
  return {
    ...{ kind: 'keys', name: 'lifecycle_list', scope: 'kms:read' },
    receipt: (request) => ({ environment: request?.environment, plane: request?.plane }),
    async run(request, caller) {
      const { alias, cursor, limit = defaultLimit } = request;
      const refused = refusalOfPlace(request, caller);
      if (refused !== undefined) return refused;
      if (!Number.isInteger(limit) || limit < 1 || limit > maxLimit) return badLimit;
      if (cursor !== undefined && (alias !== undefined || !isUuid(cursor))) return badCursor;
      return alias === undefined
        ? listAll(parts, request, caller.tenant, limit)
        : listByAlias(parts, { ...request, alias }, caller.tenant, limit);
    },
  };
}

async function listByAlias(
  parts: OperationParts,
  { alias, state, environment, plane }: IdentifiedListRequest & { readonly alias: string },
  tenant: string,
  limit: number,
): Promise<Result<IdentifiedPage>> {
  const found = await parts.keyring.findByAlias(tenant, { environment, plane }, alias);
  if (!found.ok) return found.failure.code === 'NotFound' ? ok({ keys: [], nextCursor: undefined }) : found;
  const described = await parts.keyring.describe(tenant, found.value.head.id);
  if (!described.ok) return described;
  const { head, algorithm, versions } = described.value;
  const keys = versions.map((version) => metadataIn(parts, head, algorithm, version));
  const wanted = keys.filter((key) => state === undefined || key.state === state);
  return ok({ keys: wanted.slice(0, limit), nextCursor: undefined });
}

async function listAll(
  parts: OperationParts,
  { environment, plane, state, cursor }: IdentifiedListRequest,
  tenant: string,
  limit: number,
): Promise<Result<IdentifiedPage>> {
  const keys: KeyMetadata[] = [];
  let after = cursor;
  for (let scanned = 0; scanned < maxScanned; scanned += namesPerPage) {
    const page = await parts.keyring.keyIds({
      ...{ tenant, limit: namesPerPage },
      ...(after === undefined ? undefined : { after }),
    });
    if (!page.ok) return page;
    for (const { keyId, kid } of page.value) {
      if (keys.length === limit) return ok({ keys, nextCursor: after });
      const described = await parts.keyring.describe(tenant, kid);
      after = keyId;
      // One record that cannot be read is told to the operator, and does not hide the others.
      if (!described.ok && described.failure.code !== 'Internal') return described;
      const key = described.ok ? firstOf(parts, described.value) : undefined;
      if (key === undefined || !isAt(key.placement, { environment, plane })) continue;
      if (state === undefined || key.state === state) keys.push(key);
    }
    if (page.value.length < namesPerPage) return ok({ keys, nextCursor: undefined });
    await setImmediate();
  }
  return ok({ keys, nextCursor: after });
}

function isAt(one: KeyPlacement, other: KeyPlacement): boolean {
  return one.environment === other.environment && one.plane === other.plane;
}

function firstOf(
  parts: OperationParts,
  {
    head,
    algorithm,
    versions: [version],
  }: { head: KeyHead; algorithm: Algorithm; versions: readonly DescribedVersion[] },
): KeyMetadata | undefined {
  return version && metadataIn(parts, head, algorithm, version);
}

function metadataOf(parts: OperationParts, { head, algorithm, version }: KeyHandle): KeyMetadata {
  const publicKeys = version.parts.map(({ publicKey }) => publicKey);
  return metadataIn(parts, head, algorithm, { ...version, publicKeys });
}

function metadataIn(
  parts: OperationParts,
  head: KeyHead,
  algorithm: Algorithm,
  version: DescribedVersion,
): KeyMetadata {
  const { tenant, placement, alias, validUntilMs, access, rotation } = head;
  const { kid, keyId, publicKeys, revoked } = version;
  const nowMs = parts.clock.utcMs();
  const { graceMs } = lifecycleParts(parts);
  return {
    ...{ keyId: keyId as string, kid, tenant, placement: placement as KeyPlacement, alias },
    ...{ alg: algorithm.name, keySizeBits: keySizeBits(algorithm, publicKeys) },
    usages: head.usages ?? usagesOfKind(algorithm.kind),
    state: lifecycleOf(head, version, nowMs, graceMs),
    publicKeyPem: publicPem(algorithm, kid, publicKeys),
    createdAtMs: head.createdAtMs,
    validFromMs: version.createdAtMs,
    validUntilMs,
    rotationCount: head.currentVersion - 1,
    rotation: rotation && scheduleIn(rotation),
    access,
    archivedAtMs: archivedSince(head, version, nowMs, graceMs),
    revoked,
  };
}

function scheduleIn({ afterDays, keepVersions }: NonNullable<KeyHead['rotation']>) {
  return { afterDays, ...(keepVersions === undefined ? undefined : { keepVersions }) };
}
