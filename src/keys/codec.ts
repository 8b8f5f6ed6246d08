import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { usages } from '../algorithms/work-kinds.ts';
import { decodeBase64, encodeBase64 } from '../core/bytes.ts';
import { isName } from '../core/name.ts';
import { authenticated, openAuthenticated, type RecordMac } from './authenticity.ts';
import { type Kid, maxVersion, parseKid } from './kid.ts';
import {
  decodePlaced,
  decodeVersionLifecycle,
  encodePlaced,
  encodeVersionLifecycle,
  isRepeating,
  placedMembers,
  versionLifecycleMembers,
} from './lifecycle/codec.ts';
import {
  auditDurabilities,
  isPublicOnly,
  type KeyHead,
  type KeyPart,
  type KeyPolicy,
  type KeySource,
  type KeyVersion,
  type RotationPlan,
  softwareBackend,
  type VersionLifecycle,
} from './record.ts';

/**
 * Key records as bytes: JSON with a schema number `v`, byte strings in base64, no member that is not known; heads and versions
 * are authenticated. What a reader does not accept in full is a corrupt record and gives undefined; the caller decides what
 * that means.
 */

/** Public and sealed parts: an RSA-4096 key is 2.4 KiB of PKCS#8. */
const maxPartBytes = 16 * 1024;

const time = Type.Integer({ minimum: 0 });
const version = Type.Integer({ minimum: 1, maximum: maxVersion });
const state = Type.Union([Type.Literal('active'), Type.Literal('destroyed')]);

function record<T extends Record<string, TSchema>>(members: T) {
  const schema = Type.Object(members, { additionalProperties: false });
  return TypeCompiler.Compile(schema);
}

/** Of records that are authenticated. */
const authentic = {
  v: Type.Literal(2),
  rev: Type.Integer({ minimum: 1 }),
  found: Type.Optional(Type.Literal(true)),
};
/** Of those that were written before. */
const unauthentic = { v: Type.Literal(1) };

/** Its members have the names that requests have. */
const storedPolicy = Type.Object(
  {
    adopt: Type.Optional(
      Type.Union([
        Type.Object({ label: Type.String() }, { additionalProperties: false }),
        Type.Object({ id_hex: Type.String() }, { additionalProperties: false }),
      ]),
    ),
    allow_sign_fallback: Type.Optional(Type.Literal(true)),
    attest: Type.Optional(Type.Union([Type.Literal(true), Type.Literal('require')])),
  },
  { additionalProperties: false, minProperties: 1 },
);

/** Tenant, purpose and algorithm are in the id and would only be able to contradict it. */
const headMembers = {
  id: Type.String(),
  state,
  current: version,
  created: time,
  /** Of the grammar of names; without it, software. */
  backend: Type.Optional(Type.String()),
  audit: Type.Optional(Type.Union(auditDurabilities.map((level) => Type.Literal(level)))),
  /** Without repetition, see isRepeating. */
  usages: Type.Optional(Type.Array(Type.Union(usages.map((usage) => Type.Literal(usage))), { minItems: 1 })),
  rotation: Type.Optional(
    Type.Object(
      {
        days: Type.Integer({ minimum: 1 }),
        keep: Type.Optional(Type.Integer({ minimum: 1 })),
        since: time,
      },
      { additionalProperties: false },
    ),
  ),
  policy: Type.Optional(storedPolicy),
};
const headShape = record({ ...authentic, ...headMembers, ...placedMembers });
const foundHeadShape = record({ ...unauthentic, ...headMembers });

const versionMembers = {
  id: Type.String(),
  version,
  state,
  created: time,
};
const maxParts = 8;
const uuidForm = '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$';
const source = Type.Union([
  Type.Object({ from: Type.String() }, { additionalProperties: false }),
  Type.Object(
    { imported: Type.Union([Type.Literal('private'), Type.Literal('public')]) },
    { additionalProperties: false },
  ),
]);
const versionShape = record({
  ...authentic,
  ...versionMembers,
  source: Type.Optional(source),
  ...versionLifecycleMembers,
  pooled: Type.Optional(Type.String({ pattern: uuidForm })),
  pub: Type.Array(Type.String(), { minItems: 1, maxItems: maxParts }),
});
/** The part that is not authenticated with it: the sealed private parts of an active version. */
const sealedShape = TypeCompiler.Compile(Type.Array(Type.String(), { minItems: 1, maxItems: maxParts }));
const foundVersionShape = record({
  ...unauthentic,
  ...versionMembers,
  parts: Type.Array(
    Type.Object(
      { pub: Type.String(), sealed: Type.Optional(Type.String()) },
      { additionalProperties: false },
    ),
    { minItems: 1, maxItems: maxParts },
  ),
});

const operationShape = record({
  v: Type.Literal(1),
  at: time,
  digest: Type.String(),
  id: Type.String(),
  version: Type.Optional(version),
});

/** The deed of an op_id: enough to give the same answer again from the key's records, which never go away. */
export interface OperationRecord {
  readonly atMs: number;
  /** SHA-256 of what was asked, 32 bytes. */
  readonly digest: Uint8Array;
  /** The key it made or changed. */
  readonly id: string;
  /** The version it made or destroyed; absent when it destroyed the whole key. */
  readonly version?: number;
}

export function headKey(id: string): string {
  return `key/${id}`;
}

/** Ten digits, so that the order of the names is the order of the versions. */
export function versionKey(id: string, number: number): string {
  return `${versionPrefix(id)}${String(number).padStart(10, '0')}`;
}

export function versionPrefix(id: string): string {
  return `${versionsPrefix}${id}#`;
}

/** Before the versions of all keys. */
export const versionsPrefix = 'ver/';

/** The key's id in the store key of one of its versions. */
export function idInVersionKey(storeKey: string): string {
  return storeKey.slice(versionsPrefix.length, storeKey.lastIndexOf('#'));
}

/** Before the private parts that wait for a key to be made. */
export const poolPrefix = 'pool/rsa-2048/';

/** Before keys of the service's own. */
export const serviceKeyPrefix = 'meta/service-key/';

export const operationPrefix = 'op/';

export function operationKey(tenant: string, operationId: string): string {
  return `${operationPrefix}${tenant}/${operationId}`;
}

export function encodeHead(head: KeyHead, mac: RecordMac): Uint8Array {
  const stored: Stored<typeof headShape> = {
    ...encodeAuthentic(head),
    id: head.id,
    state: head.state,
    current: head.currentVersion,
    created: head.createdAtMs,
    backend: head.backend,
    ...(head.auditDurability === undefined ? undefined : { audit: head.auditDurability }),
    ...(head.usages === undefined ? undefined : { usages: [...head.usages] }),
    ...(head.rotation === undefined ? undefined : { rotation: encodeRotation(head.rotation) }),
    ...(head.policy === undefined ? undefined : { policy: encodePolicy(head.policy) }),
    ...(head.placement === undefined ? undefined : encodePlaced(head)),
  };
  return authenticated(headKey(head.id), JSON.stringify(stored), mac);
}

/** The head that belongs under this store key. */
export function decodeHead(storeKey: string, bytes: Uint8Array, mac: RecordMac): KeyHead | undefined {
  const opened = openAuthenticated(storeKey, bytes, mac);
  return headOf(storeKey, opened?.rest.length === 0 ? fromBytes(headShape, opened.text) : undefined);
}

/** One that was written before records were authenticated, for the first writing that is. */
export function decodeFoundHead(storeKey: string, bytes: Uint8Array): KeyHead | undefined {
  const stored = fromBytes(foundHeadShape, bytes);
  return headOf(storeKey, stored && { ...stored, v: 2, rev: 1, found: true });
}

function headOf(storeKey: string, stored: Stored<typeof headShape> | undefined): KeyHead | undefined {
  if (stored === undefined || headKey(stored.id) !== storeKey) return undefined;
  const kid = parseKid(stored.id);
  const { backend = softwareBackend } = stored;
  const placed = decodePlaced(stored);
  if (kid === undefined || kid.version !== undefined || !isName(backend) || placed === undefined)
    return undefined;
  if (isRepeating(stored.usages)) return undefined;
  return {
    id: kid.id,
    tenant: kid.tenant,
    purpose: kid.purpose,
    alg: kid.algorithm.name,
    state: stored.state,
    currentVersion: stored.current,
    createdAtMs: stored.created,
    ...decodeAuthentic(stored),
    backend,
    ...(stored.audit === undefined ? undefined : { auditDurability: stored.audit }),
    ...(stored.usages === undefined ? undefined : { usages: stored.usages }),
    ...(stored.rotation === undefined ? undefined : { rotation: decodeRotation(stored.rotation) }),
    ...(stored.policy === undefined ? undefined : { policy: decodePolicy(stored.policy) }),
    ...placed,
  };
}

type StoredRotation = NonNullable<Stored<typeof headShape>['rotation']>;

function encodeRotation({ afterDays, keepVersions, sinceMs }: RotationPlan): StoredRotation {
  const keep = keepVersions === undefined ? {} : { keep: keepVersions };
  return { days: afterDays, ...keep, since: sinceMs };
}

function decodeRotation({ days, keep, since }: StoredRotation): RotationPlan {
  return { afterDays: days, ...(keep === undefined ? {} : { keepVersions: keep }), sinceMs: since };
}

/** A policy as records have it; requests and answers have the same members. One that asks for nothing is none. */
export function encodePolicy({ adopt, allowSignFallback, attest }: KeyPolicy): Static<typeof storedPolicy> {
  return {
    ...(adopt === undefined
      ? undefined
      : { adopt: 'label' in adopt ? { label: adopt.label } : { id_hex: adopt.idHex } }),
    ...(allowSignFallback === undefined ? undefined : { allow_sign_fallback: allowSignFallback }),
    ...(attest === undefined ? undefined : { attest }),
  };
}

function decodePolicy(stored: Static<typeof storedPolicy>): KeyPolicy {
  const { adopt, allow_sign_fallback: allowSignFallback, attest } = stored;
  return {
    ...(adopt === undefined
      ? undefined
      : { adopt: 'label' in adopt ? { label: adopt.label } : { idHex: adopt.id_hex } }),
    ...(allowSignFallback === undefined ? undefined : { allowSignFallback }),
    ...(attest === undefined ? undefined : { attest }),
  };
}

export function encodeVersion(keyVersion: KeyVersion, mac: RecordMac): Uint8Array {
  const { id, parts } = keyVersion;
  const stored: Stored<typeof versionShape> = {
    ...encodeAuthentic(keyVersion),
    id,
    version: keyVersion.version,
    state: keyVersion.state,
    created: keyVersion.createdAtMs,
    pub: parts.map(({ publicKey }) => encodeBase64(publicKey)),
    ...(keyVersion.source && { source: encodeSource(keyVersion.source) }),
    ...(parts[0]?.pooled && { pooled: parts[0].pooled.name }),
    ...(keyVersion.keyId === undefined ? undefined : encodeVersionLifecycle(keyVersion)),
  };
  const sealed = parts.flatMap(({ sealed }) => (sealed === undefined ? [] : [encodeBase64(sealed)]));
  const rest = sealed.length === 0 ? '' : JSON.stringify(sealed);
  return authenticated(versionKey(id, keyVersion.version), JSON.stringify(stored), mac, rest);
}

/** The version that belongs under this store key, for a key of this kid's algorithm. */
export function decodeVersion(
  storeKey: string,
  kid: Kid,
  bytes: Uint8Array,
  mac: RecordMac,
): KeyVersion | undefined {
  const opened = openAuthenticated(storeKey, bytes, mac);
  const stored = opened && fromBytes(versionShape, opened.text);
  if (opened === undefined || stored === undefined) return undefined;
  const sealed = opened.rest.length === 0 ? [] : fromBytes(sealedShape, opened.rest);
  const { pub, source: storedSource, pooled, ...members } = stored;
  const source = storedSource && decodeSource(storedSource);
  if (source?.kind === 'derived' && parseKid(source.from)?.version === undefined) return undefined;
  const lifecycle = decodeVersionLifecycle(stored);
  if (lifecycle === undefined) return undefined;
  // An active version has all its private parts, unless these were never here, and a destroyed one none.
  const sealedHere = stored.state === 'active' && !isPublicOnly(source);
  if (sealed?.length !== (sealedHere ? pub.length : 0)) return undefined;
  // A key of several parts is never from the pool.
  if (pooled !== undefined && (!sealedHere || pub.length > 1)) return undefined;
  const parts = pub.map((text, index) => ({ pub: text, sealed: sealed[index], pooled }));
  return versionIn(storeKey, kid, {
    ...members,
    ...decodeAuthentic(stored),
    ...(source && { source }),
    lifecycle,
    parts,
  });
}

function encodeSource(of: KeySource): Static<typeof source> {
  return of.kind === 'derived' ? { from: of.from } : { imported: of.publicOnly ? 'public' : 'private' };
}

function decodeSource(stored: Static<typeof source>): KeySource {
  return 'from' in stored
    ? { kind: 'derived', from: stored.from }
    : { kind: 'imported', publicOnly: stored.imported === 'public' };
}

/** As `decodeFoundHead`. */
export function decodeFoundVersion(storeKey: string, kid: Kid, bytes: Uint8Array): KeyVersion | undefined {
  const stored = fromBytes(foundVersionShape, bytes);
  return stored && versionIn(storeKey, kid, { ...stored, revision: 1, found: true });
}

interface StoredVersion {
  readonly id: string;
  readonly version: number;
  readonly state: KeyVersion['state'];
  readonly created: number;
  readonly revision: number;
  readonly found?: true;
  readonly source?: KeySource;
  readonly lifecycle?: VersionLifecycle | undefined;
  readonly parts: readonly {
    readonly pub: string;
    readonly sealed?: string | undefined;
    readonly pooled?: string | undefined;
  }[];
}

function versionIn(storeKey: string, kid: Kid, stored: StoredVersion): KeyVersion | undefined {
  const { id, version, state, created: createdAtMs, revision, found, source } = stored;
  if (versionKey(id, version) !== storeKey || id !== kid.id) return undefined;
  if (stored.parts.length !== kid.algorithm.components.length) return undefined;
  const parts: KeyPart[] = [];
  for (const part of stored.parts) {
    const publicKey = decodeBase64(part.pub, maxPartBytes);
    const shouldBeSealed = state === 'active' && !isPublicOnly(source);
    if (publicKey === undefined || (part.sealed !== undefined) !== shouldBeSealed) return undefined;
    const sealed = part.sealed === undefined ? undefined : decodeBase64(part.sealed, maxPartBytes);
    if (part.sealed !== undefined && sealed === undefined) return undefined;
    const pooled = part.pooled === undefined ? undefined : { pooled: { name: part.pooled } };
    parts.push(sealed === undefined ? { publicKey } : { publicKey, sealed, ...pooled });
  }
  const more = { ...(found === undefined ? {} : { found }), ...(source && { source }), ...stored.lifecycle };
  return { id, version, state, createdAtMs, revision, ...more, parts };
}

export function encodeOperation(operation: OperationRecord): Uint8Array {
  return toBytes<typeof operationShape>({
    v: 1,
    at: operation.atMs,
    digest: encodeBase64(operation.digest),
    id: operation.id,
    ...(operation.version === undefined ? {} : { version: operation.version }),
  });
}

export function decodeOperation(bytes: Uint8Array): OperationRecord | undefined {
  const stored = fromBytes(operationShape, bytes);
  if (stored === undefined) return undefined;
  const digest = decodeBase64(stored.digest, 32);
  const kid = parseKid(stored.id);
  if (digest?.byteLength !== 32 || kid === undefined || kid.version !== undefined) return undefined;
  return {
    atMs: stored.at,
    digest,
    id: stored.id,
    ...(stored.version === undefined ? {} : { version: stored.version }),
  };
}

function encodeAuthentic({ revision, found }: Pick<KeyHead, 'revision' | 'found'>) {
  return { v: 2, rev: revision, ...(found === undefined ? undefined : { found }) } as const;
}

function decodeAuthentic({ rev, found }: { rev: number; found?: true }) {
  return { revision: rev, ...(found === undefined ? undefined : { found }) };
}

type Shape = ReturnType<typeof record>;
type Stored<S> = S extends { Check(value: unknown): value is infer T } ? T : never;

function toBytes<S extends Shape>(stored: Stored<S>): Uint8Array {
  return Buffer.from(JSON.stringify(stored));
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function fromBytes<T>(shape: { Check(value: unknown): value is T }, bytes: Uint8Array): T | undefined {
  try {
    const stored: unknown = JSON.parse(utf8.decode(bytes));
    return shape.Check(stored) ? stored : undefined;
  } catch {
    return undefined;
  }
}
