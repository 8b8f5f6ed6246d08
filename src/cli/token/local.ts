import { Command } from 'commander';
import { createMacaroonAuthenticator } from '../../auth/macaroon/authenticator.ts';
import { macaroonKeyOf } from '../../auth/macaroon/key.ts';
import { attenuateToken, inspectToken, mintToken } from '../../auth/macaroon/mint.ts';
import { readMacaroonKey } from '../../auth/macaroon/root-key.ts';
import { oneRootKey } from '../../auth/macaroon/root-keys.ts';
import { systemClock } from '../../core/clock.ts';
import { ownCommand, startCommand } from '../../core/own-package.ts';
import { peerAt } from '../../core/peer.ts';
import { fail } from '../fail.ts';
import { secretRule, settingsOrFail } from '../settings.ts';
import {
  collectScopes,
  type Restrictions,
  restrictions,
  scopeHelp,
  timeHelp,
  withCaveats,
} from './restrictions.ts';
import { printJson, printToken, readToken } from './text.ts';

/** Commands that need no running service. */
export function localCommands(): readonly Command[] {
  return [mintCommand(), attenuateCommand(), inspectCommand(), verifyCommand()];
}

const dataDirHelp = 'the data directory of the service (default: KMS_DATA_DIR, or ./data)';

/** The newest macaroon key of a data directory, or the one with this id. */
function macaroonKey(dataDir = settingsOrFail([]).config.dataDir, id?: number) {
  const key = readMacaroonKey(dataDir, secretRule(), id);
  if (key.ok) return key;
  const hint = `the service makes it at its first start: run ${startCommand}, or name its --data-dir`;
  return fail(key.problem, ...(key.missing && id === undefined ? [hint] : []));
}

function mintCommand(): Command {
  const command = new Command('mint')
    .description('make a capability for one tenant with the macaroon key of a data directory, and print it')
    .option('--tenant <name>', 'whose keys it opens: small letters, digits and . _ - (at most 63)')
    .option('--scope <list>', 'what it permits, separated by commas; may be repeated', collectScopes)
    .option('--expires <when>', `${timeHelp}, or never`, '1h')
    .option('--not-before <when>', `from when it is valid: ${timeHelp}`)
    .option('--dual-control', 'each call needs the discharge of a second principal')
    .option('--data-dir <directory>', dataDirHelp);
  return withCaveats(command)
    .addHelpText(
      'after',
      `${scopeHelp}

Without the data directory, POST /v1/kms/token/mint does the same for an administrator.

Examples:
  ${ownCommand} token mint --tenant acme --scope kms:sign,kms:verify --expires 1h
  ${ownCommand} token mint --tenant acme --scope kms:sign --purpose payments --rate 100/s
  TOKEN=$(${ownCommand} token mint --tenant acme --scope kms:rotate,kms:read --data-dir /var/lib/intaglio)`,
    )
    .action((options: Restrictions & { dataDir?: string; dualControl?: boolean }) => {
      const { tenant, scopes: granted, ...others } = restrictions(options);
      // Checked here and not by requiredOption, which would hide that --scoope is no option.
      if (tenant === undefined || granted === undefined) {
        fail(
          '--tenant and --scope are required',
          'for example: token mint --tenant acme --scope kms:sign,kms:verify',
        );
      }
      const { rootKey, rootKeyId } = macaroonKey(options.dataDir);
      const dualControl = options.dualControl ?? false;
      printToken(mintToken({ ...others, ...{ rootKey, rootKeyId, tenant, scopes: granted, dualControl } }));
    });
}

function attenuateCommand(): Command {
  const command = new Command('attenuate')
    .description('take something away from a capability, without any key, and print the narrower one')
    .argument('[token]', 'the capability; from standard input when it is missing or -')
    .option('--tenant <name>', 'require this tenant')
    .option(
      '--scope <list>',
      'leave at most these scopes, separated by commas; may be repeated',
      collectScopes,
    )
    .option('--expires <when>', `expire at the latest then: ${timeHelp}`)
    .option('--not-before <when>', `not valid before: ${timeHelp}`);
  return withCaveats(command)
    .addHelpText(
      'after',
      `${scopeHelp}

Example, keeping the wider token out of the list of processes:
  ${ownCommand} token attenuate --scope kms:verify --expires 5m < token.txt`,
    )
    .action(async (token: string | undefined, options: Restrictions) => {
      if (options.expires === 'never') {
        fail('--expires never takes nothing away: a capability expires when it did before');
      }
      if (Object.keys(options).length === 0) {
        fail('nothing to take away: give --scope, --expires, --not-before, --tenant or another restriction');
      }
      printToken(attenuateToken(await readToken(token), restrictions(options)));
    });
}

function inspectCommand(): Command {
  return new Command('inspect')
    .description('show what a capability says of itself, as JSON; its signature is NOT verified')
    .argument('[token]', 'the capability; from standard input when it is missing or -')
    .addHelpText('after', `\nExample:\n  ${ownCommand} token inspect < data/bootstrap.token`)
    .action(async (token: string | undefined) => {
      const inspected = inspectToken(await readToken(token));
      if (!inspected.ok) fail(inspected.failure.hint ?? inspected.failure.code);
      printJson({ ...inspected.value, verified: false });
    });
}

function verifyCommand(): Command {
  return new Command('verify')
    .description(
      'check a capability with the macaroon keys of a data directory, and show what it leaves, as JSON',
    )
    .argument('[token]', 'the capability; from standard input when it is missing or -')
    .option('--data-dir <directory>', dataDirHelp)
    .addHelpText(
      'after',
      `
Checks the signature, the form of every caveat, and the times. What depends on a connection, on discharges or on
revocations only the service knows.

Example:
  ${ownCommand} token verify --data-dir /var/lib/intaglio < token.txt`,
    )
    .action(async (token: string | undefined, { dataDir }: { dataDir?: string }) => {
      const text = await readToken(token);
      const inspected = inspectToken(text);
      if (!inspected.ok) fail(inspected.failure.hint ?? inspected.failure.code);
      const { caveats, ...claims } = inspected.value;
      const { rootKey, rootKeyId } = macaroonKey(dataDir, claims.root_key);
      const { timeSkewToleranceMs } = settingsOrFail([]).config;
      const outcome = createMacaroonAuthenticator({
        rootKey: oneRootKey(macaroonKeyOf(rootKey), rootKeyId),
        timeSkewToleranceMs,
      }).authenticate(
        { token: text, peer: () => peerAt('tcp') },
        { utcMs: systemClock.utcMs(), bodyBytes: 0 },
      );
      if (!outcome.ok) fail(outcome.failure.hint ?? outcome.failure.code);
      const { tenant, scopes } = outcome.value;
      printJson({ ...claims, tenant, scopes: [...scopes], caveats, verified: true });
    });
}
