import { isName } from '../../core/name.ts';
import { ownMember } from '../../core/own-member.ts';
import { grants, type Scope, scopes } from '../../core/scope.ts';

/** The permission that all caveats of a capability together leave. */
export interface Grant {
  readonly tenant: string;
  /** May be empty: caveats that exclude each other. */
  readonly scopes: ReadonlySet<Scope>;
  /** UTC, milliseconds since 1970; -Infinity and Infinity where no caveat bounds them. */
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
}

/** One caveat's restriction; members that are absent are not restricted. */
interface Restriction {
  readonly tenant?: string;
  readonly scopes?: ReadonlySet<Scope>;
  readonly notBeforeMs?: number;
  readonly expiresAtMs?: number;
}

/** The closed grammar, `name = value`. One entry each; a value that is not exactly of its form gives undefined. */
const grammar: Readonly<Record<string, (value: string) => Restriction | undefined>> = {
  tenant: (value) => (isName(value) ? { tenant: value } : undefined),
  scope(value) {
    const names = value.split(',');
    const known = scopes.filter((scope) => names.includes(scope));
    return known.length === names.length ? { scopes: new Set(known) } : undefined;
  },
  not_before(value) {
    const notBeforeMs = parseUtc(value);
    return notBeforeMs === undefined ? undefined : { notBeforeMs };
  },
  expires(value) {
    const expiresAtMs = parseUtc(value);
    return expiresAtMs === undefined ? undefined : { expiresAtMs };
  },
};

function parseCaveat(text: string): Restriction | undefined {
  const parts = /^([a-z_]{1,32}) = (.+)$/.exec(text);
  const [, name = '', value = ''] = parts ?? [];
  return ownMember(grammar, name)?.(value);
}

/**
 * The permission that these caveats leave together, or undefined where that is nothing: an unknown or malformed caveat, several
 * tenants, no tenant, or no scope at all. The last one is refused so that a scope of a later version is never granted by a
 * capability that was minted before it existed.
 */
export function grantOf(caveats: readonly string[]): Grant | undefined {
  let tenant: string | undefined;
  let scopeSets = 0;
  let granted: readonly Scope[] = scopes;
  let notBeforeMs = Number.NEGATIVE_INFINITY;
  let expiresAtMs = Number.POSITIVE_INFINITY;
  for (const caveat of caveats) {
    const restriction = parseCaveat(caveat);
    if (restriction === undefined) return undefined;
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

/** The caveats that say this, in a fixed order. Absent members add none. Undefined where a value has no such form. */
export function caveatsOf(wanted: {
  readonly tenant?: string;
  readonly scopes?: readonly string[];
  readonly notBeforeMs?: number;
  readonly expiresAtMs?: number;
}): readonly string[] | undefined {
  const caveats: string[] = [];
  if (wanted.tenant !== undefined) caveats.push(`tenant = ${wanted.tenant}`);
  if (wanted.scopes !== undefined) caveats.push(`scope = ${[...new Set(wanted.scopes)].join(',')}`);
  if (wanted.notBeforeMs !== undefined) caveats.push(`not_before = ${formatUtc(wanted.notBeforeMs)}`);
  if (wanted.expiresAtMs !== undefined) caveats.push(`expires = ${formatUtc(wanted.expiresAtMs)}`);
  return caveats.every((caveat) => parseCaveat(caveat) !== undefined) ? caveats : undefined;
}

// RFC 3339 in UTC with `Z`, and at most milliseconds.
const utcPattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z$/;

/** Milliseconds since 1970, or undefined. A day that its month has not is refused and not moved into the next one. */
export function parseUtc(text: string): number | undefined {
  if (!utcPattern.test(text)) return undefined;
  const utcMs = Date.parse(text);
  return Number.isNaN(utcMs) || formatUtc(utcMs).slice(0, 19) !== text.slice(0, 19) ? undefined : utcMs;
}

/** Empty, which no grammar takes, for a time that four digits of year cannot say. */
export function formatUtc(utcMs: number): string {
  const time = new Date(utcMs);
  return Number.isNaN(time.getTime()) ? '' : time.toISOString();
}
