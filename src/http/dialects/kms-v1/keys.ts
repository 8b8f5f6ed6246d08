import { type Static, Type } from '@sinclair/typebox';
import { parseUtc } from '../../../auth/utc.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import { lifecycleStates } from '../../../keys/lifecycle/states.ts';
import { type KeyAccess, revocationReasons } from '../../../keys/record.ts';
import { typeOfAlgorithm } from '../../../operations/lifecycle/names.ts';
import type {
  ArchiveAnswer,
  ArchiveRequest,
  GenerateRequest,
  IdentifiedListRequest,
  IdentifiedPage,
  IdentifiedReadRequest,
  IdentifiedRotateAnswer,
  IdentifiedRotateRequest,
  KeyGenerated,
  KeyMetadata,
  RevokeAnswer,
  RevokeRequest,
} from '../../../operations/lifecycle/requests.ts';
import type { Operation } from '../../../operations/operation.ts';
import type { Endpoint, WireRequest } from '../../dialect.ts';
import { approvedRequestSha256, closed, shapeOf } from '../../json-requests.ts';
import { approvalOf } from './approvals.ts';
import {
  approvalText,
  cursorText,
  limitText,
  momentText,
  namedPlace,
  opIdText,
  pageOf,
  placed,
  read,
  readQuery,
  timeText,
} from './schemas.ts';

const uses = ['sign', 'verify', 'encrypt', 'decrypt'] as const;
const use = Type.Union(uses.map((name) => Type.Literal(name)));

const accessPolicy = closed({
  allowed_modules: Type.Optional(
    Type.Array(Type.String({ minLength: 1, maxLength: 128 }), {
      minItems: 1,
      maxItems: 64,
      uniqueItems: true,
    }),
  ),
  requires_approval: Type.Optional(Type.Boolean()),
  max_usage_per_day: Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000_000_000 })),
});

export const generateBody = placed({
  key_type: Type.String({ minLength: 1, maxLength: 64, examples: ['RSA-2048', 'Ed25519', 'AES-256'] }),
  key_usage: Type.Union([use, Type.Array(use, { minItems: 1, maxItems: uses.length, uniqueItems: true })]),
  key_alias: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
  valid_until: Type.Optional(momentText),
  access_policy: Type.Optional(accessPolicy),
  approval_token: Type.Optional(approvalText),
  op_id: Type.Optional(opIdText),
});

const badMoment = refuse('BadRequest', 'valid_until is a time in UTC: 2027-01-31T12:00:00Z');

function generateRequestOf(body: Static<typeof generateBody>, request: WireRequest): Result<GenerateRequest> {
  const { key_type: keyType, key_usage: usage, key_alias: alias, valid_until: until, op_id: id } = body;
  const approval = approvalOf(body, request);
  if (!approval.ok) return approval;
  const validUntilMs = until === undefined ? undefined : parseUtc(until);
  if (until !== undefined && validUntilMs === undefined) return badMoment;
  return ok({
    ...namedPlace(body),
    ...{ keyType, alias, validUntilMs, approval: approval.value },
    usages: typeof usage === 'string' ? [usage] : usage,
    access: accessOf(body.access_policy),
    ...{ rotation: undefined, purpose: undefined },
    requestSha256: approvedRequestSha256(body),
    name: id === undefined ? undefined : { id },
  });
}

function accessOf(policy: Static<typeof accessPolicy> | undefined): KeyAccess | undefined {
  if (policy === undefined) return undefined;
  const { allowed_modules: allowedModules, requires_approval, max_usage_per_day: maxUsagePerDay } = policy;
  const access = {
    ...(allowedModules === undefined ? undefined : { allowedModules }),
    ...(requires_approval === true ? { requiresApproval: true as const } : undefined),
    ...(maxUsagePerDay === undefined ? undefined : { maxUsagePerDay }),
  };
  return Object.keys(access).length === 0 ? undefined : access;
}

/** POST /keys. The secret of a symmetric key is nowhere in the answer. */
export function generateEndpoint(
  operation: Operation<GenerateRequest, KeyGenerated>,
): Endpoint<GenerateRequest, KeyGenerated> {
  return {
    operation,
    parse: read(shapeOf(generateBody), generateRequestOf),
    present: ({ keyId, publicKeyPem }) => ({
      status: 201,
      body: { key_id: keyId, public_key: publicKeyPem ?? null },
    }),
  };
}

const changeMembers = { approval_token: Type.Optional(approvalText) };

/** What a change of a key has besides its subject. */
function keyChangeOf(
  body: Parameters<typeof namedPlace>[0] & { readonly approval_token?: string },
  request: WireRequest,
) {
  const approval = approvalOf(body, request);
  if (!approval.ok) return approval;
  return ok({ ...namedPlace(body), keyId: request.named ?? '', approval: approval.value });
}

export const rotateKeyBody = placed({ ...changeMembers, op_id: Type.Optional(opIdText) });

/** POST /keys/{key_id}/rotate */
export function rotateKeyEndpoint(
  operation: Operation<IdentifiedRotateRequest, IdentifiedRotateAnswer>,
): Endpoint<IdentifiedRotateRequest, IdentifiedRotateAnswer> {
  return {
    operation,
    parse: read(shapeOf(rotateKeyBody), (body, request) => {
      const change = keyChangeOf(body, request);
      const name = body.op_id === undefined ? undefined : { id: body.op_id };
      return change.ok ? ok({ ...change.value, name }) : change;
    }),
    present: ({ oldKeyId, newKeyId, newPublicKeyPem }) => ({
      status: 200,
      body: { old_key_id: oldKeyId, new_key_id: newKeyId, new_public_key: newPublicKeyPem ?? null },
    }),
  };
}

export const revokeKeyBody = placed({
  revocation_reason: Type.Union(revocationReasons.map((reason) => Type.Literal(reason))),
  ...changeMembers,
});

/** POST /keys/{key_id}/revoke */
export function revokeKeyEndpoint(
  operation: Operation<RevokeRequest, RevokeAnswer>,
): Endpoint<RevokeRequest, RevokeAnswer> {
  return {
    operation,
    parse: read(shapeOf(revokeKeyBody), (body, request) => {
      const change = keyChangeOf(body, request);
      return change.ok ? ok({ ...change.value, reason: body.revocation_reason }) : change;
    }),
    present: ({ keyId, revokedAtMs }) => ({
      status: 200,
      body: { key_id: keyId, revoked_at: timeText(revokedAtMs) },
    }),
  };
}

export const archiveKeyBody = placed(changeMembers);

/** POST /keys/{key_id}/archive */
export function archiveKeyEndpoint(
  operation: Operation<ArchiveRequest, ArchiveAnswer>,
): Endpoint<ArchiveRequest, ArchiveAnswer> {
  return {
    operation,
    parse: read(shapeOf(archiveKeyBody), keyChangeOf),
    present: ({ keyId, archivedAtMs }) => ({
      status: 200,
      body: { key_id: keyId, archived_at: timeText(archivedAtMs) },
    }),
  };
}

const placeQuery = placed({});

/** GET /keys/{key_id} */
export function readKeyEndpoint(
  operation: Operation<IdentifiedReadRequest, KeyMetadata>,
): Endpoint<IdentifiedReadRequest, KeyMetadata> {
  return {
    operation,
    parse: readQuery(shapeOf(placeQuery), (query, { named = '' }) =>
      ok({ ...namedPlace(query), keyId: named }),
    ),
    present: (metadata) => ({ status: 200, body: presentMetadata(metadata) }),
  };
}

export const listKeysQuery = placed({
  key_alias: Type.Optional(
    Type.String({ minLength: 1, maxLength: 128, description: 'the versions of the key that has it' }),
  ),
  key_state: Type.Optional(
    Type.Union(
      lifecycleStates.map((state) => Type.Literal(state)),
      { description: 'versions in this state only' },
    ),
  ),
  cursor: cursorText,
  limit: limitText,
});

/** GET /keys */
export function listKeysEndpoint(
  operation: Operation<IdentifiedListRequest, IdentifiedPage>,
): Endpoint<IdentifiedListRequest, IdentifiedPage> {
  return {
    operation,
    parse: readQuery(shapeOf(listKeysQuery), (query) => {
      const { key_alias: alias, key_state: state } = query;
      return ok({ ...namedPlace(query), ...pageOf(query), alias, state });
    }),
    present: ({ keys, nextCursor }) => ({
      status: 200,
      body: {
        keys: keys.map(presentMetadata),
        ...(nextCursor === undefined ? undefined : { next_cursor: nextCursor }),
      },
    }),
  };
}

function presentMetadata(key: KeyMetadata) {
  const { validUntilMs, archivedAtMs, revoked, rotation } = key;
  return {
    ...{ key_id: key.keyId, kid: key.kid, tenant_id: key.tenant, ...key.placement },
    ...{ key_type: typeOfAlgorithm(key.alg), key_size_bits: key.keySizeBits, key_usage: key.usages },
    ...{ key_alias: key.alias ?? null, key_state: key.state, public_key: key.publicKeyPem ?? null },
    ...{ created_at: timeText(key.createdAtMs), valid_from: timeText(key.validFromMs) },
    valid_until: validUntilMs === undefined ? null : timeText(validUntilMs),
    rotation_count: key.rotationCount,
    ...(rotation === undefined ? undefined : { rotate_after_days: rotation.afterDays }),
    access_policy: presentAccess(key.access),
    ...(archivedAtMs === undefined ? undefined : { archived_at: timeText(archivedAtMs) }),
    ...(revoked === undefined
      ? undefined
      : { revoked_at: timeText(revoked.atMs), revocation_reason: revoked.reason }),
  };
}

/** All members are there, so that a client need not know what holds without them. */
function presentAccess(access: KeyAccess | undefined) {
  return {
    allowed_modules: access?.allowedModules ?? null,
    requires_approval: access?.requiresApproval ?? false,
    max_usage_per_day: access?.maxUsagePerDay ?? null,
  };
}
