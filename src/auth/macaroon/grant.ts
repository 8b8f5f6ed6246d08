import { hash } from 'node:crypto';
import { grants, type Scope, scopes } from '../../core/scope.ts';
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
  /** Pseudonyms of the principals who made discharges. */
  readonly approvers: readonly string[];
}

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
  for (const source of sources) {
    for (const [index, caveat] of source.caveats.entries()) {
      if (typeof caveat !== 'string') continue;
      const restriction = parseCaveat(caveat);
      if (restriction === undefined) return undefined;
      if (restriction.on === 'capability') own.push(restriction);
      if (restriction.on === 'request') request.push(restriction.judge);
      if (restriction.on === 'call') call.push(restriction.judge);
      if (restriction.on === 'record') approvers.push(restriction.approver);
      if (restriction.on === 'limit') limits.push({ ...restriction, name: nameOf(source, index) });
    }
  }
  const ownGrant = combine(own);
  return ownGrant === undefined ? undefined : { ...ownGrant, request, call, limits, approvers };
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
