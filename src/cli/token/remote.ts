import { Command } from 'commander';
import { bindToken } from '../../auth/macaroon/mint.ts';
import { makeRootKey, rootKeyIds } from '../../auth/macaroon/root-keys.ts';
import { ownCommand } from '../../core/own-package.ts';
import { errorCode } from '../../core/private-file.ts';
import { askService } from '../audit/ask-service.ts';
import { fail } from '../fail.ts';
import { type ServiceAddress, withServiceAddress } from '../service-client.ts';
import { printJson, printToken, readToken } from './text.ts';

/** Commands that ask a running service, or speak of what it was asked. */
export function remoteCommands(): readonly Command[] {
  return [dischargeCommand(), revokeCommand(), keysCommand()];
}

interface Service extends ServiceAddress {
  tokenFile?: string;
}

function ofService(command: Command, whose: string): Command {
  return withServiceAddress(command).option('--token-file <file>', `a file with ${whose}`);
}

function tokenFileOf({ tokenFile }: Service): string {
  return tokenFile ?? fail('--token-file is required');
}

interface DischargeOptions extends Service {
  caveatId?: string;
  operation?: string;
  kid?: string;
  request?: string;
  bind?: string;
}

function dischargeCommand(): Command {
  const command = new Command('discharge')
    .description(
      'agree to one call of a capability under dual control; or, with --bind, make the agreement fit for use',
    )
    .argument('[token]', 'with --bind the capability; from standard input when it is missing or -')
    .option('--caveat-id <id>', 'which caveat: `third_party` of token inspect says it')
    .option('--operation <name>', 'the call that is agreed to: create, rotate, destroy, sign, token_mint …')
    .option('--kid <kid>', 'its key, where its path names one')
    .option('--request <json>', 'its body, with its op_id')
    .option(
      '--bind <discharge>',
      'the agreement of the second principal: prints the value of X-KMS-Discharge',
    );
  return ofService(
    command,
    "the second principal's capability, which has the scope of the call, and kms:read",
  )
    .addHelpText(
      'after',
      `
The first principal hands over the id of the caveat and the call; the second agrees; the first binds and calls:
  ${ownCommand} token inspect < first.token
  ${ownCommand} token discharge --caveat-id ID --operation destroy --kid KID \\
    --request '{"op_id":"6d1c…"}' --token-file second.token > agreement.txt
  ${ownCommand} token discharge --bind "$(cat agreement.txt)" < first.token`,
    )
    .action(async (token: string | undefined, options: DischargeOptions) => {
      const { bind, caveatId, operation, kid } = options;
      if (bind !== undefined) {
        printToken(bindToken(await readToken(token), bind.trim()));
        return;
      }
      if (caveatId === undefined || operation === undefined) fail('--caveat-id and --operation are required');
      const body = { caveat_id: caveatId, operation, kid, request: requestOf(options.request) };
      const { text } = await askService(options, '/v1/kms/token/discharge', tokenFileOf(options), body);
      process.stdout.write(`${(JSON.parse(text) as { discharge: string }).discharge}\n`);
    });
}

function requestOf(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return fail('--request is not JSON');
  }
}

interface RevokeOptions extends Service {
  actor?: string;
  rootKey?: string;
  tenant?: string;
  issuedBefore?: string;
}

function revokeCommand(): Command {
  const command = new Command('revoke')
    .description('end capabilities before their time; a running service does it within a second, for good')
    .argument('[token]', 'a capability to revoke with all that came from it; - for standard input')
    .option('--actor <cap>', 'a capability by its pseudonym, as logs name it')
    .option('--root-key <id>', 'all that were made under this root key')
    .option('--tenant <name>', 'all of this tenant that were issued until now; * for all tenants')
    .option('--issued-before <when>', 'only those issued until this time in UTC');
  return ofService(command, 'a capability for kms:admin, of the same tenant or of the operator')
    .addHelpText(
      'after',
      `
Examples:
  ${ownCommand} token revoke --token-file admin.token - < stolen.token
  ${ownCommand} token revoke --token-file admin.token --actor cap:0123456789abcdef --tenant acme
  ${ownCommand} token revoke --token-file admin.token --tenant acme --issued-before 2027-01-31T12:00:00Z`,
    )
    .action(async (token: string | undefined, options: RevokeOptions) => {
      const { actor, rootKey, tenant, issuedBefore } = options;
      if (rootKey !== undefined && !/^[0-9]{1,9}$/.test(rootKey)) fail('--root-key takes a number');
      const body = {
        token: token === undefined ? undefined : await readToken(token),
        ...{ actor, tenant, issued_before: issuedBefore },
        root_key: rootKey === undefined ? undefined : Number(rootKey),
      };
      if (Object.values(body).every((value) => value === undefined)) {
        fail('nothing to revoke: name a token, --actor, --root-key, --tenant or --issued-before');
      }
      await askService(options, '/v1/kms/token/revoke', tokenFileOf(options), body);
    });
}

interface KeysOptions extends Service {
  rotate?: boolean;
  dataDir?: string;
}

function keysCommand(): Command {
  const command = new Command('keys')
    .description(
      'show the macaroon keys by id, as JSON; or make a new one, which a running service takes up by itself',
    )
    .option('--rotate', 'make a new one; capabilities of before go on')
    .option('--data-dir <directory>', 'of this data directory, without asking the service');
  return ofService(command, "a capability of the operator's tenant for kms:admin")
    .addHelpText(
      'after',
      `
To end all capabilities of a key: token revoke --root-key, or remove its file.

Examples:
  ${ownCommand} token keys --token-file data/bootstrap.token
  ${ownCommand} token keys --rotate --data-dir /var/lib/intaglio`,
    )
    .action(async (options: KeysOptions) => {
      if (options.dataDir !== undefined) printJson(keysOf(options.dataDir, options.rotate ?? false));
      else {
        const body = options.rotate === true ? {} : undefined;
        const { text } = await askService(options, '/v1/kms/token/keys', tokenFileOf(options), body);
        printJson(JSON.parse(text));
      }
    });
}

function keysOf(dataDir: string, rotate: boolean): unknown {
  if (rotate) {
    const made = makeRootKey(dataDir);
    return made.ok ? { id: made.id } : fail(made.problem);
  }
  try {
    return { keys: rootKeyIds(dataDir).map((id) => ({ id })) };
  } catch (error) {
    return fail(`cannot read ${dataDir} (${errorCode(error)})`);
  }
}
