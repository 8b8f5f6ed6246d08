import { type Static, Type } from '@sinclair/typebox';
import { type PublicFormat, publicFormats } from '../../../algorithms/public-formats.ts';
import { findAlgorithm } from '../../../algorithms/registry.ts';
import { usages } from '../../../algorithms/work-kinds.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import { encodePolicy } from '../../../keys/codec.ts';
import type { KeyDestroyed, KeyMade, KeyPage } from '../../../keys/keyring.ts';
import { isPurpose } from '../../../keys/kid.ts';
import {
  auditDurabilities,
  type KeyHead,
  type KeyPolicy,
  type KeySource,
  softwareBackend,
  type TokenKeyName,
} from '../../../keys/record.ts';
import { dueAtMs } from '../../../keys/rotation-schedule.ts';
import type { CreateRequest } from '../../../operations/create-key.ts';
import type { DestroyRequest } from '../../../operations/destroy-key.ts';
import type { ChangeName } from '../../../operations/idempotency.ts';
import type { Operations } from '../../../operations/operations.ts';
import type { KeyNamed, KeyRead, ListRequest, ReadRequest } from '../../../operations/read-keys.ts';
import type { RotateRequest } from '../../../operations/rotate-key.ts';
import type { Endpoint, Presented, WireRequest } from '../../dialect.ts';
import { closed, optionalBody, parseQuery, shapeOf, typed } from '../../json-requests.ts';
import { presentPublicKey, timestamp } from './present.ts';
import { operationId, publishedAlgorithm, publishedName } from './schemas.ts';

const usagesText = Type.Array(Type.Union(usages.map((usage) => Type.Literal(usage))), {
  minItems: 1,
  uniqueItems: true,
  maxItems: usages.length,
});

/** The longest label that the tokens of the field take. */
const maxLabelLength = 255;
const tokenKeyName = Type.Union(
  [
    closed({ label: Type.String({ minLength: 1, maxLength: maxLabelLength }) }),
    closed({ id_hex: Type.String({ pattern: '^([0-9A-Fa-f]{2}){1,64}$' }) }),
  ],
  { description: 'a key that the token has: its CKA_LABEL, or its CKA_ID in hexadecimal' },
);

/** Holds for a key as long as it lives. */
export const keyPolicy = closed({
  backend: Type.Optional(Type.String({ maxLength: 63, ...publishedName })),
  adopt: Type.Optional(tokenKeyName),
  allow_sign_fallback: Type.Optional(
    Type.Boolean({
      description:
        'while the backend is away, another one of its attestation class that has the very same key may sign',
    }),
  ),
  attest: Type.Optional(
    Type.Union([Type.Boolean(), Type.Literal('require')], {
      description:
        'answers of signing bring evidence of where the key is; with `require` none leaves without',
    }),
  ),
  audit: Type.Optional(Type.Union(auditDurabilities.map((level) => Type.Literal(level)))),
  usages: Type.Optional(usagesText),
});

/** Of a key that is made here. */
export const newKeyPolicy = closed({
  ...keyPolicy.properties,
  rotate_after_days: Type.Optional(Type.Integer({ minimum: 1, maximum: 3_650 })),
  keep_versions: Type.Optional(Type.Integer({ minimum: 1, maximum: 9_990 })),
});

export const createBody = closed({
  op_id: Type.Optional(operationId),
  tenant: Type.Optional(Type.String({ maxLength: 63, ...publishedName })),
  purpose: Type.String({ minLength: 1, maxLength: 63, ...publishedName }),
  alg: Type.String({ minLength: 1, maxLength: 64, ...publishedAlgorithm }),
  policy: Type.Optional(Type.Union([Type.Null(), newKeyPolicy])),
});

const keepsWithoutSchedule = refuse('BadRequest', 'policy.keep_versions goes with rotate_after_days');

function createRequestOf(body: Static<typeof createBody>): Result<CreateRequest> {
  const { tenant, purpose, alg, policy } = body;
  const { rotate_after_days: afterDays, keep_versions: keepVersions } = policy ?? {};
  if (afterDays === undefined && keepVersions !== undefined) return keepsWithoutSchedule;
  const keep = keepVersions === undefined ? {} : { keepVersions };
  return ok({
    tenant,
    purpose,
    alg,
    ...(afterDays === undefined ? undefined : { rotation: { afterDays, ...keep } }),
    ...policyIn(policy),
    name: changeNameOf(body),
  });
}

/** Of a new key. A null or empty policy is none. */
export function policyIn(
  policy: Static<typeof keyPolicy> | null | undefined,
): Pick<CreateRequest, 'auditDurability' | 'usages' | 'backend' | 'policy'> {
  const { audit, usages, backend, adopt, allow_sign_fallback, attest = false } = policy ?? {};
  const kept: KeyPolicy = {
    ...(adopt === undefined ? undefined : { adopt: tokenKeyNameIn(adopt) }),
    ...(allow_sign_fallback === true ? { allowSignFallback: true } : undefined),
    ...(attest === false ? undefined : { attest }),
  };
  return {
    auditDurability: audit,
    usages,
    backend,
    policy: Object.keys(kept).length === 0 ? undefined : kept,
  };
}

function tokenKeyNameIn(adopt: Static<typeof tokenKeyName>): TokenKeyName {
  return 'label' in adopt ? { label: adopt.label } : { idHex: adopt.id_hex.toLowerCase() };
}

export function changeNameOf(body: { readonly op_id?: string }): ChangeName | undefined {
  const { op_id: id, ...spelled } = body;
  return id === undefined ? undefined : { id, spelled };
}

/** POST /keys */
export function createEndpoint({ create }: Operations): Endpoint<CreateRequest, KeyMade> {
  return {
    operation: create,
    parse: typed(shapeOf(createBody), createRequestOf),
    present: presentMade,
  };
}

export function presentMade({ kid, algorithm, publicKeys, createdAtMs }: KeyMade): Presented {
  return {
    status: 201,
    body: { kid, public: presentPublicKey(algorithm, publicKeys), created_at: timestamp(createdAtMs) },
  };
}

/** GET /keys */
export function listEndpoint({ list }: Operations): Endpoint<ListRequest, KeyPage> {
  return { operation: list, parse: ({ query }) => parseFilters(query), present: presentPage };
}

function parseFilters(query: string): Result<ListRequest> {
  const parsed = parseQuery(query, ['purpose', 'alg', 'cursor', 'limit']);
  if (!parsed.ok) return parsed;
  const { purpose, alg, cursor, limit } = parsed.value;
  if (purpose !== undefined && !isPurpose(purpose)) return refuse('BadRequest', 'purpose is not a purpose');
  const algorithm = alg === undefined ? undefined : findAlgorithm(alg);
  if (alg !== undefined && algorithm === undefined) return refuse('Unsupported', 'unknown alg');
  if (limit !== undefined && !/^[1-9][0-9]{0,3}$/.test(limit))
    return refuse('BadRequest', 'limit: 1 to 1000');
  if (Number(limit ?? 1) > 1000) return refuse('BadRequest', 'limit: 1 to 1000');
  return ok({
    ...(purpose === undefined ? undefined : { purpose }),
    ...(algorithm === undefined ? undefined : { algorithm }),
    ...(cursor === undefined ? undefined : { cursor }),
    ...(limit === undefined ? undefined : { limit: Number(limit) }),
  });
}

function presentPage({ keys: heads, nextCursor }: KeyPage): Presented {
  const keys = heads.map((head) => ({
    kid: `${head.id}#v${head.currentVersion}`,
    alg: head.alg,
    purpose: head.purpose,
    state: head.state,
    current_version: head.currentVersion,
    created_at: timestamp(head.createdAtMs),
    ...presentPolicy(head),
  }));
  return { status: 200, body: nextCursor === undefined ? { keys } : { keys, next_cursor: nextCursor } };
}

/** GET /keys/{kid}; of a kid with `#vN` only that version. */
export function readEndpoint({ read }: Operations): Endpoint<ReadRequest, KeyRead> {
  return {
    operation: read,
    parse(request) {
      const parsed = parseQuery(request.query, ['format']);
      if (!parsed.ok) return parsed;
      const { format } = parsed.value;
      if (format !== undefined && !isPublicFormat(format)) return noSuchFormat;
      return ok({ kid: request.named ?? '', format });
    },
    present: (read) => (read.encoded === undefined ? presentRead(read) : { status: 200, raw: read.encoded }),
  };
}

const noSuchFormat = refuse('BadRequest', 'format: pem, der, jwk or ssh');

function isPublicFormat(text: string): text is PublicFormat {
  return publicFormats.some((format) => format === text);
}

function presentRead({ head, algorithm, versions, attestationClass }: KeyRead): Presented {
  return {
    status: 200,
    body: {
      kid: `${head.id}#v${head.currentVersion}`,
      alg: head.alg,
      purpose: head.purpose,
      state: head.state,
      current_version: head.currentVersion,
      versions: versions.map((version) => ({
        kid: version.kid,
        version: version.version,
        state: version.state,
        created_at: timestamp(version.createdAtMs),
        public: presentPublicKey(algorithm, version.publicKeys),
        ...presentSource(version.source),
      })),
      backend: head.backend,
      attestation_class: attestationClass,
      ...presentPolicy(head),
    },
  };
}

/** Nothing where the key may do all that its algorithm can, has no schedule, and nothing was asked of its backend. */
function presentPolicy(head: KeyHead): { readonly policy?: object } {
  const { usages, backend, policy } = head;
  const shown = {
    ...(usages === undefined ? undefined : { usages }),
    ...(backend === softwareBackend ? undefined : { backend }),
    ...(policy === undefined ? undefined : encodePolicy(policy)),
    ...presentSchedule(head),
  };
  return Object.keys(shown).length === 0 ? {} : { policy: shown };
}

function presentSchedule({ id, rotation, state }: KeyHead): object | undefined {
  if (rotation === undefined || state === 'destroyed') return undefined;
  const { afterDays, keepVersions } = rotation;
  return {
    ...{ rotate_after_days: afterDays, rotates_at: timestamp(dueAtMs(id, rotation)) },
    ...(keepVersions === undefined ? undefined : { keep_versions: keepVersions }),
  };
}

/** Nothing of a version that was made here at random. */
function presentSource(source: KeySource | undefined) {
  if (source === undefined) return {};
  return source.kind === 'derived'
    ? { source: 'derived', derived_from: source.from }
    : { source: source.publicOnly ? 'imported_public' : 'imported' };
}

function parseKid({ named = '' }: WireRequest): Result<KeyNamed> {
  return ok({ kid: named });
}

/** Every way to ask for a private key, whatever else the request says. */
export function exportEndpoint({ export: operation }: Operations): Endpoint<KeyNamed, never> {
  return { operation, parse: parseKid, present: (never) => never };
}

export const rotateBody = optionalBody(shapeOf(closed({ op_id: Type.Optional(operationId) })));

/** POST /keys/{kid}/rotate */
export function rotateEndpoint({ rotate }: Operations): Endpoint<RotateRequest, KeyMade> {
  return {
    operation: rotate,
    parse: typed(rotateBody, (body, { named = '' }) => ok({ kid: named, name: changeNameOf(body) })),
    present: presentNext,
  };
}

export function presentNext({ kid, previous, algorithm, publicKeys }: KeyMade): Presented {
  return { status: 200, body: { kid, previous, public: presentPublicKey(algorithm, publicKeys) } };
}

export const destroyBody = optionalBody(
  shapeOf(
    closed({
      op_id: Type.Optional(operationId),
      version: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_147_483_647 })),
    }),
  ),
);

/** POST /keys/{kid}/destroy */
export function destroyEndpoint({ destroy }: Operations): Endpoint<DestroyRequest, KeyDestroyed> {
  return {
    operation: destroy,
    parse: typed(destroyBody, (body, { named = '' }) =>
      ok({ kid: named, version: body.version, name: changeNameOf(body) }),
    ),
    present: ({ kid }) => ({ status: 200, body: { kid, state: 'destroyed' } }),
  };
}
