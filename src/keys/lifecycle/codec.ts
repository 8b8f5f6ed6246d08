import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { environments, planes } from '../../core/scope.ts';
import { isUuid } from '../kid.ts';
import { type KeyAccess, type KeyHead, revocationReasons, type VersionLifecycle } from '../record.ts';
import { isAlias, isModule } from './names.ts';

/** The members of stored heads and versions that only keys with a placement have. */

const time = Type.Integer({ minimum: 0 });

function oneOf<T extends string>(values: readonly T[]) {
  return Type.Union(values.map((value) => Type.Literal(value)));
}

function closed<T extends Record<string, TSchema>>(members: T) {
  return Type.Object(members, { additionalProperties: false });
}

const storedAccess = Type.Object(
  {
    modules: Type.Optional(Type.Array(Type.String(), { minItems: 1 })),
    approval: Type.Optional(Type.Literal(true)),
    per_day: Type.Optional(Type.Integer({ minimum: 1 })),
  },
  { additionalProperties: false, minProperties: 1 },
);

/** TypeBox's own `uniqueItems` hashes each item, which was a third of the time that reading a head takes. */
export function isRepeating(values: readonly string[] | undefined): boolean {
  return values !== undefined && new Set(values).size < values.length;
}

/** Of a head. */
export const placedMembers = {
  place: Type.Optional(closed({ env: oneOf(environments), plane: oneOf(planes) })),
  alias: Type.Optional(Type.String()),
  until: Type.Optional(time),
  access: Type.Optional(storedAccess),
};
type StoredPlaced = Static<ReturnType<typeof closed<typeof placedMembers>>>;

type Placed = Pick<KeyHead, 'placement' | 'alias' | 'validUntilMs' | 'access'>;

export function encodePlaced({ placement, alias, validUntilMs, access }: Placed): StoredPlaced {
  return {
    ...(placement && { place: { env: placement.environment, plane: placement.plane } }),
    ...(alias === undefined ? undefined : { alias }),
    ...(validUntilMs === undefined ? undefined : { until: validUntilMs }),
    ...(access && { access: encodeAccess(access) }),
  };
}

/** Undefined where it contradicts itself. */
export function decodePlaced({ place, alias, until, access }: StoredPlaced): Placed | undefined {
  if (place === undefined) return (alias ?? until ?? access) ? undefined : {};
  if (alias !== undefined && !isAlias(alias)) return undefined;
  if (access?.modules?.every(isModule) === false || isRepeating(access?.modules)) return undefined;
  return {
    placement: { environment: place.env, plane: place.plane },
    ...(alias === undefined ? undefined : { alias }),
    ...(until === undefined ? undefined : { validUntilMs: until }),
    ...(access && { access: decodeAccess(access) }),
  };
}

function encodeAccess({ allowedModules, requiresApproval, maxUsagePerDay }: KeyAccess) {
  return {
    ...(allowedModules && { modules: [...allowedModules] }),
    ...(requiresApproval && { approval: requiresApproval }),
    ...(maxUsagePerDay === undefined ? undefined : { per_day: maxUsagePerDay }),
  };
}

function decodeAccess({ modules, approval, per_day: perDay }: Static<typeof storedAccess>): KeyAccess {
  return {
    ...(modules && { allowedModules: modules }),
    ...(approval && { requiresApproval: approval }),
    ...(perDay === undefined ? undefined : { maxUsagePerDay: perDay }),
  };
}

/** Of a version. */
export const versionLifecycleMembers = {
  key_id: Type.Optional(Type.String()),
  replaced: Type.Optional(time),
  archived: Type.Optional(time),
  revoked: Type.Optional(closed({ reason: oneOf(revocationReasons), at: time })),
};
type StoredLifecycle = Static<ReturnType<typeof closed<typeof versionLifecycleMembers>>>;

export function encodeVersionLifecycle(of: VersionLifecycle): StoredLifecycle {
  const { keyId, replacedAtMs, archivedAtMs, revoked } = of;
  return {
    ...(keyId === undefined ? undefined : { key_id: keyId }),
    ...(replacedAtMs === undefined ? undefined : { replaced: replacedAtMs }),
    ...(archivedAtMs === undefined ? undefined : { archived: archivedAtMs }),
    ...(revoked && { revoked: { reason: revoked.reason, at: revoked.atMs } }),
  };
}

/** Undefined where it contradicts itself. */
export function decodeVersionLifecycle(stored: StoredLifecycle): VersionLifecycle | undefined {
  const { key_id: keyId, replaced, archived, revoked } = stored;
  if (keyId === undefined) return (replaced ?? archived ?? revoked) ? undefined : {};
  if (!isUuid(keyId)) return undefined;
  return {
    keyId,
    ...(replaced === undefined ? undefined : { replacedAtMs: replaced }),
    ...(archived === undefined ? undefined : { archivedAtMs: archived }),
    ...(revoked && { revoked: { reason: revoked.reason, atMs: revoked.at } }),
  };
}
