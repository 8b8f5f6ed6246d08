import { hash } from 'node:crypto';
import { type CallerPlacement, grants, type Scope, scopes } from '../../core/scope.ts';
import {
  type CallCondition,
  type LimitKind,
  parseCaveat,
  type RequestCondition,
  type Restriction,
} from './caveats.ts';
import type { Caveat } from './encoding.ts';

/** The permission that all caveats of a capability and of its discharges together leave. */
export interface Grant {
  readonly tenant: string;
  /** May be empty: caveats that exclude each other. */
  readonly scopes: ReadonlySet<Scope>;
  /** UTC, milliseconds since 1970; -Infinity and Infinity where no caveat bounds them. */
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
  readonly request: readonly RequestCondition[];
  readonly call: readonly CallCondition[];
  readonly limits: readonly Limit[];
  /** Undefined where no caveat speaks of it; a capability whose caveats name no module is of none. */
  readonly placement: GrantedPlacement | undefined;
  /** Pseudonyms of the principals who made discharges. */
  readonly approvers: readonly string[];
}

export type GrantedPlacement = Omit<CallerPlacement, 'module'> & { readonly module: string | undefined };

/** A limit, and the name under which its uses are counted: one for a caveat and all that is attenuated behind it. */
export interface Limit {
  readonly kind: LimitKind;
  readonly count: number;
  /** 22 characters of base64url. */
  readonly name: string;
}

/** A macaroon whose caveats count. */
export interface Source {
  readonly identifier: Uint8Array;
  readonly caveats: readonly Caveat[];
}

/**
 * The permission that these leave together, or undefined where that is nothing: an unknown or malformed caveat, several tenants, no
 * tenant, or no scope at all. The last one is refused so that a scope of a later version is never granted by a
 * capability that was minted before it existed.
 */
export function grantOf(sources: readonly Source[]): Grant | undefined {
  const request: RequestCondition[] = [];
  const call: CallCondition[] = [];
  const limits: Limit[] = [];
  const approvers: string[] = [];
  const own: Extract<Restriction, { on: 'capability' }>[] = [];
  const places: Extract<Restriction, { on: 'placement' }>[] = [];
  for (const source of sources) {
    for (const [index, caveat] of source.caveats.entries()) {
      if (typeof caveat !== 'string') continue;
      const restriction = parseCaveat(caveat);
      if (restriction === undefined) return undefined;
      if (restriction.on === 'capability') own.push(restriction);
      if (restriction.on === 'placement') places.push(restriction);
      if (restriction.on === 'request') request.push(restriction.judge);
      if (restriction.on === 'call') call.push(restriction.judge);
      if (restriction.on === 'record') approvers.push(restriction.approver);
      if (restriction.on === 'limit') limits.push({ ...restriction, name: nameOf(source, index) });
    }
  }
  const ownGrant = combine(own);
  if (ownGrant === undefined || new Set(places.flatMap(({ module = [] }) => module)).size > 1)
    return undefined;
  return { ...ownGrant, placement: placementOf(places), request, call, limits, approvers };
}

/** Each list leaves at most what the others do, perhaps nothing. */
function placementOf(
  places: readonly Extract<Restriction, { on: 'placement' }>[],
): GrantedPlacement | undefined {
  if (places.length === 0) return undefined;
  const common = (lists: readonly (readonly string[])[]) =>
    lists.length === 0 ? 'all' : lists.reduce((left, list) => left.filter((name) => list.includes(name)));
  return {
    environments: common(places.flatMap(({ environments: list }) => (list === undefined ? [] : [list]))),
    planes: common(places.flatMap(({ planes: list }) => (list === undefined ? [] : [list]))),
    module: places.find(({ module }) => module !== undefined)?.module,
  };
}

function combine(
  restrictions: readonly Extract<Restriction, { on: 'capability' }>[],
): Pick<Grant, 'tenant' | 'scopes' | 'notBeforeMs' | 'expiresAtMs'> | undefined {
  let tenant: string | undefined;
  let scopeSets = 0;
  let granted: readonly Scope[] = scopes;
  let notBeforeMs = Number.NEGATIVE_INFINITY;
  let expiresAtMs = Number.POSITIVE_INFINITY;
  for (const restriction of restrictions) {
    if (restriction.tenant !== undefined) {
      if (tenant !== undefined && tenant !== restriction.tenant) return undefined;
      tenant = restriction.tenant;
    }
    const permitted = restriction.scopes;
    if (permitted !== undefined) {
      // Sets are compared by the uses that they permit and not by names, so that rotate narrowed to create leaves create.
      granted = granted.filter((scope) => grants(permitted, scope));
      scopeSets++;
    }
    notBeforeMs = Math.max(notBeforeMs, restriction.notBeforeMs ?? notBeforeMs);
    expiresAtMs = Math.min(expiresAtMs, restriction.expiresAtMs ?? expiresAtMs);
  }
  if (tenant === undefined || scopeSets === 0) return undefined;
  return { tenant, scopes: new Set(granted), notBeforeMs, expiresAtMs };
}

/** Of everything up to this caveat: whoever attenuates further shares the count. */
function nameOf({ identifier, caveats }: Source, index: number): string {
  const text = caveats.slice(0, index + 1).map((caveat) => (typeof caveat === 'string' ? caveat : ''));
  const path = `${Buffer.from(identifier).toString('hex')}\n${text.join('\n')}`;
  return hash('sha256', path, 'base64url').slice(0, 22);
}
