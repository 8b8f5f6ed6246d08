import { isName } from '../core/name.ts';
import { type Scope, scopes } from '../core/scope.ts';
import type { Kind } from './kinds.ts';

/** Settings about tenants are lists; more entries than this belong into a policy, not into a setting. */
const maxEntries = 1_024;

const maxWeight = 100;

/** Shares of the workers: a tenant without an entry has weight 1. */
export const tenantWeights: Kind<Readonly<Record<string, number>>> = {
  accepts: `tenant=weight separated by commas, weights 1 to ${maxWeight}`,
  parse(given) {
    const entries = entriesOf(given);
    if (entries === undefined) return undefined;
    const weights: Record<string, number> = {};
    for (const [tenant, text] of entries) {
      if (!isName(tenant) || Object.hasOwn(weights, tenant) || !/^[1-9][0-9]{0,2}$/.test(text))
        return undefined;
      const weight = Number(text);
      if (weight > maxWeight) return undefined;
      weights[tenant] = weight;
    }
    return weights;
  },
  format: (weights) =>
    Object.entries(weights)
      .map(([tenant, weight]) => `${tenant}=${weight}`)
      .join(','),
};

const maxDays = 3_650;

/** Days by the name of an algorithm. */
export const algorithmDays: Kind<Readonly<Record<string, number>>> = {
  accepts: `algorithm=days separated by commas, days 1 to ${maxDays}, or off`,
  parse(given) {
    if (given === 'off') return {};
    const days: Record<string, number> = {};
    for (const [name, text] of entriesOf(given) ?? [['', '']]) {
      if (!/^[a-z0-9+-]{1,40}$/.test(name) || Object.hasOwn(days, name)) return undefined;
      if (!/^[1-9][0-9]{0,3}$/.test(text) || Number(text) > maxDays) return undefined;
      days[name] = Number(text);
    }
    return days;
  },
  format(days) {
    const texts = Object.entries(days).map(([name, count]) => `${name}=${count}`);
    return texts.length === 0 ? 'off' : texts.join(',');
  },
};

export interface ScopeRate {
  readonly scope: Scope;
  readonly count: number;
  readonly windowMs: number;
}

const windows = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type WindowName = keyof typeof windows;

/** `sign=1000000/d,verify=2000/s`: several windows of one scope hold together. */
export const scopeRates: Kind<readonly ScopeRate[]> = {
  accepts: 'scope=count/s, /m, /h or /d separated by commas, such as sign=1000000/d,verify=2000/s',
  parse(given) {
    const entries = entriesOf(given);
    if (entries === undefined) return undefined;
    const rates: ScopeRate[] = [];
    for (const [name, text] of entries) {
      const scope = scopes.find((candidate) => candidate === `kms:${name}`);
      const parts = /^([1-9][0-9]{0,9})\/([smhd])$/.exec(text);
      if (scope === undefined || parts === null) return undefined;
      rates.push({ scope, count: Number(parts[1]), windowMs: windows[parts[2] as WindowName] });
    }
    return rates;
  },
  format: (rates) =>
    rates.map(({ scope, count, windowMs }) => `${scope.slice(4)}=${count}/${windowName(windowMs)}`).join(','),
};

function windowName(windowMs: number): string {
  return Object.entries(windows).find(([, ms]) => ms === windowMs)?.[0] ?? 's';
}

/** `name=value` separated by commas, in their order. */
export function entriesOf(given: unknown): readonly (readonly [string, string])[] | undefined {
  if (typeof given !== 'string') return undefined;
  if (given.trim() === '') return [];
  const entries = given.split(',').map((entry) => entry.trim().split('='));
  if (entries.length > maxEntries || entries.some((entry) => entry.length !== 2)) return undefined;
  return entries as unknown as (readonly [string, string])[];
}
