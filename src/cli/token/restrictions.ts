import type { Command } from 'commander';
import { parseCaveat, type WantedCaveats } from '../../auth/macaroon/caveats.ts';
import { parseUtc } from '../../auth/utc.ts';
import { nearest } from '../../config/nearest.ts';
import { systemClock } from '../../core/clock.ts';
import { isName } from '../../core/name.ts';
import { scopes } from '../../core/scope.ts';
import { fail } from '../fail.ts';

export const scopeHelp = `\nScopes: ${scopes.join(' ')}\n(kms:rotate also permits creating keys)`;
export const timeHelp = 'a duration from now (90s, 15m, 1h, 7d) or a time in UTC (2027-01-31T12:00:00Z)';

/** The caveats that have an option of their own, beside tenant, scope and times. */
const caveatHelp = {
  kid: 'only these keys, or versions (<kid>#v2)',
  kid_prefix: 'only keys whose kid begins so, as acme/payments/',
  purpose: 'only keys of these purposes',
  alg: 'only keys of these algorithms',
  operation: 'only these operations, by their names in metrics: sign, verify, sign_batch, create …',
  payload_b3: 'only payloads with these BLAKE3 digests, in hex',
  address: 'only from these addresses and networks (10.0.0.0/8)',
  spiffe: 'only with a client certificate of these SPIFFE ids',
  dns: 'only with a client certificate of these DNS names',
  subject: 'only with a client certificate of this subject',
  cert_sha256: 'only with these client certificates: SHA-256 of the DER, in hex',
  peer_uid: 'only from these users, over the Unix socket',
  environment: 'only keys of these environments: dev, staging, prod',
  plane: 'only keys of these planes: laptop, tenant, product, shared',
  module: 'of the module of this name',
  audience: 'only at services of these names (KMS_AUDIENCE)',
  max_body_bytes: 'only bodies up to this length',
  rate: 'so many calls and items of batches a second: 100/s',
  cost_us: 'so many microseconds of workers a second: 5000/s',
  max_uses: 'so many uses in all',
} as const satisfies Readonly<Record<string, string>>;

type CaveatName = keyof typeof caveatHelp;
const optionNames = Object.keys(caveatHelp) as readonly CaveatName[];

/** `cert_sha256` is `--cert-sha256`, which Commander keeps as `certSha256`. */
const memberOf = (name: string) => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

export type Restrictions = {
  tenant?: string;
  scope?: string[];
  expires?: string;
  notBefore?: string;
} & Readonly<Record<string, unknown>>;

/** An option for each caveat; each may be repeated, and then all of them hold. */
export function withCaveats(command: Command): Command {
  for (const name of optionNames) {
    const each = (value: string, before: string[] | undefined) => [...(before ?? []), value];
    command.option(`--${name.replaceAll('_', '-')} <value>`, caveatHelp[name], each);
  }
  return command;
}

export function collectScopes(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), ...value.split(',').map((scope) => scope.trim())];
}

function caveatsIn(options: Restrictions): readonly string[] {
  return optionNames.flatMap((name) =>
    ((options[memberOf(name)] as readonly string[] | undefined) ?? []).map((value) => {
      const caveat = `${name} = ${value}`;
      if (parseCaveat(caveat) === undefined) {
        fail(`--${name.replaceAll('_', '-')} has not the form that it takes: ${caveatHelp[name]}`);
      }
      return caveat;
    }),
  );
}

/** Checks what a person typed, with an answer that helps; the caveats' own grammar checks it all again. */
export function restrictions(options: Restrictions): WantedCaveats {
  const { tenant, scope, expires, notBefore } = options;
  if (tenant !== undefined && !isName(tenant)) {
    fail('--tenant takes small letters, digits and . _ - with a letter or digit first, at most 63 in all');
  }
  for (const name of scope ?? []) {
    if (!scopes.some((known) => known === name)) {
      const near = nearest(name, scopes) ?? nearest(`kms:${name}`, scopes);
      const hint = near === undefined ? '' : `; did you mean ${near}?`;
      fail(`unknown scope ${JSON.stringify(name)}${hint}`, `scopes are ${scopes.join(' ')}`);
    }
  }
  const expiresAtMs = expires === undefined || expires === 'never' ? undefined : timeOf('--expires', expires);
  const notBeforeMs = notBefore === undefined ? undefined : timeOf('--not-before', notBefore);
  if (expiresAtMs !== undefined && expiresAtMs <= systemClock.utcMs()) {
    fail('--expires is not in the future: nobody could use this capability');
  }
  if (expiresAtMs !== undefined && notBeforeMs !== undefined && notBeforeMs >= expiresAtMs) {
    fail('--not-before is not before --expires: nobody could use this capability');
  }
  const caveats = caveatsIn(options);
  return {
    ...(tenant === undefined ? undefined : { tenant }),
    ...(scope === undefined ? undefined : { scopes: scope }),
    ...(expiresAtMs === undefined ? undefined : { expiresAtMs }),
    ...(notBeforeMs === undefined ? undefined : { notBeforeMs }),
    ...(caveats.length === 0 ? undefined : { caveats }),
  };
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

export function timeOf(option: string, text: string): number {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (count !== undefined) return systemClock.utcMs() + Number(count) * (unitMs[unit] ?? 0);
  return parseUtc(text) ?? fail(`${option} takes ${timeHelp}`);
}
