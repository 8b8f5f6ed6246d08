import { Command } from 'commander';
import { maxTokenCharacters } from '../auth/macaroon/encoding.ts';
import { attenuateToken, inspectToken, mintToken } from '../auth/macaroon/mint.ts';
import { readMacaroonKey } from '../auth/macaroon/root-key.ts';
import { parseUtc } from '../auth/macaroon/values.ts';
import { nearest } from '../config/nearest.ts';
import { systemClock } from '../core/clock.ts';
import { isName } from '../core/name.ts';
import type { Result } from '../core/result.ts';
import { scopes } from '../core/scope.ts';
import { fail } from './fail.ts';
import { secretRule, settingsOrFail } from './settings.ts';

interface Restrictions {
  tenant?: string;
  scope?: string[];
  expires?: string;
  notBefore?: string;
}

const scopeHelp = `\nScopes: ${scopes.join(' ')}\n(kms:rotate also permits creating keys)`;
const timeHelp = 'a duration from now (90s, 15m, 1h, 7d) or a time in UTC (2027-01-31T12:00:00Z)';

/** `token mint`, `token attenuate`, `token inspect`. Standard output carries the result and nothing else. */
export function tokenCommand(): Command {
  return new Command('token')
    .description('make, narrow and read capabilities, the tokens that callers send as Authorization: Bearer')
    .addCommand(mintCommand())
    .addCommand(attenuateCommand())
    .addCommand(inspectCommand());
}

function mintCommand(): Command {
  return new Command('mint')
    .description('make a capability for one tenant with the macaroon key of a data directory, and print it')
    .option('--tenant <name>', 'whose keys it opens: small letters, digits and . _ - (at most 63)')
    .option('--scope <list>', 'what it permits, separated by commas; may be repeated', collect)
    .option('--expires <when>', `${timeHelp}, or never`, '1h')
    .option('--not-before <when>', `from when it is valid: ${timeHelp}`)
    .option('--data-dir <directory>', 'the data directory of the service (default: KMS_DATA_DIR, or ./data)')
    .addHelpText(
      'after',
      `${scopeHelp}

Examples:
  npm run -s intaglio -- token mint --tenant acme --scope kms:sign,kms:verify --expires 1h
  TOKEN=$(npm run -s intaglio -- token mint --tenant acme --scope kms:rotate,kms:read --data-dir /var/lib/intaglio)`,
    )
    .action((options: Restrictions & { dataDir?: string }) => {
      const { tenant, scopes: granted, ...times } = restrictions(options);
      // Checked here and not by requiredOption, which would hide that --scoope is no option.
      if (tenant === undefined || granted === undefined) {
        fail(
          '--tenant and --scope are required',
          'for example: token mint --tenant acme --scope kms:sign,kms:verify',
        );
      }
      const dataDir = options.dataDir ?? settingsOrFail([]).config.dataDir;
      const key = readMacaroonKey(dataDir, secretRule());
      if (!key.ok) {
        fail(
          key.problem,
          ...(key.missing
            ? ['the service makes it at its first start: run npm start, or name its --data-dir']
            : []),
        );
      }
      printToken(
        mintToken({ rootKey: key.rootKey, rootKeyId: key.rootKeyId, tenant, scopes: granted, ...times }),
      );
    });
}

function attenuateCommand(): Command {
  return new Command('attenuate')
    .description('take something away from a capability, without any key, and print the narrower one')
    .argument('[token]', 'the capability; from standard input when it is missing or -')
    .option('--tenant <name>', 'require this tenant')
    .option('--scope <list>', 'leave at most these scopes, separated by commas; may be repeated', collect)
    .option('--expires <when>', `expire at the latest then: ${timeHelp}`)
    .option('--not-before <when>', `not valid before: ${timeHelp}`)
    .addHelpText(
      'after',
      `${scopeHelp}

Example, keeping the wider token out of the list of processes:
  npm run -s intaglio -- token attenuate --scope kms:verify --expires 5m < token.txt`,
    )
    .action(async (token: string | undefined, options: Restrictions) => {
      if (options.expires === 'never') {
        fail('--expires never takes nothing away: a capability expires when it did before');
      }
      if (Object.keys(options).length === 0) {
        fail('nothing to take away: give --scope, --expires, --not-before or --tenant');
      }
      printToken(attenuateToken(await readToken(token), restrictions(options)));
    });
}

function inspectCommand(): Command {
  return new Command('inspect')
    .description('show what a capability says of itself, as JSON; its signature is NOT verified')
    .argument('[token]', 'the capability; from standard input when it is missing or -')
    .addHelpText('after', '\nExample:\n  npm run -s intaglio -- token inspect < data/bootstrap.token')
    .action(async (token: string | undefined) => {
      const inspected = inspectToken(await readToken(token));
      if (!inspected.ok) fail(inspected.failure.hint ?? inspected.failure.code);
      process.stdout.write(`${JSON.stringify({ ...inspected.value, verified: false }, null, 2)}\n`);
    });
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), ...value.split(',').map((scope) => scope.trim())];
}

/** Checks what a person typed, with an answer that helps; the caveats' own grammar checks it all again. */
function restrictions({ tenant, scope, expires, notBefore }: Restrictions) {
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
  return {
    ...(tenant === undefined ? undefined : { tenant }),
    ...(scope === undefined ? undefined : { scopes: scope }),
    ...(expiresAtMs === undefined ? undefined : { expiresAtMs }),
    ...(notBeforeMs === undefined ? undefined : { notBeforeMs }),
  };
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function timeOf(option: string, text: string): number {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (count !== undefined) return systemClock.utcMs() + Number(count) * (unitMs[unit] ?? 0);
  return parseUtc(text) ?? fail(`${option} takes ${timeHelp}`);
}

async function readToken(given: string | undefined): Promise<string> {
  if (given !== undefined && given !== '-') return given;
  if (process.stdin.isTTY) fail('no token given: name it, or send it to standard input');
  let text = '';
  for await (const chunk of process.stdin.setEncoding('utf8')) {
    text += chunk;
    // No capability is longer, with room for white space around it.
    if (text.length > 2 * maxTokenCharacters) fail('this is not a capability of this service');
  }
  return text.trim();
}

function printToken(token: Result<string>): void {
  if (!token.ok) fail(token.failure.hint ?? token.failure.code);
  process.stdout.write(`${token.value}\n`);
}
