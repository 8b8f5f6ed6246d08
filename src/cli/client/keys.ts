import { Command, InvalidArgumentError } from 'commander';
import { fileBytes, line, put } from './files.ts';
import { type AskedService, endsWithTwo, withClient, withService, wrongUse } from './service.ts';

interface Shown extends AskedService {
  readonly json?: boolean;
}

interface Changed extends Shown {
  readonly opId?: string;
}

export function keysCommand(): Command {
  const command = endsWithTwo(new Command('keys')).description('make, show, rotate, import and destroy keys');
  for (const one of [create(), list(), show(), rotate(), destroy(), importKey()]) command.addCommand(one);
  return command;
}

const opIdOption = ['--op-id <uuid>', 'names the change, so that a repeated one is done once'] as const;

function named(name: string, description: string, example: string): Command {
  return withService(new Command(name).description(description))
    .option('--json', 'the answer as JSON')
    .addHelpText('after', `\nExample:\n  intaglio keys ${name} ${example}`);
}

function create(): Command {
  return named('create', 'make a key; prints its kid', '--purpose demo --alg ml-dsa-65')
    .requiredOption('--purpose <name>', 'what it is for')
    .requiredOption('--alg <name>', 'ed25519, ml-dsa-65, ed25519+ml-dsa-65, xaes-256-gcm …')
    .option('--usages <list>', 'what it may be used for, with commas: sign,verify', (text) => text.split(','))
    .option(...opIdOption)
    .action((options: Changed & { purpose: string; alg: string; usages?: readonly string[] }) => {
      const { purpose, alg, usages } = options;
      const key = { purpose, alg, ...(usages === undefined ? {} : { usages }) };
      return withClient(options, async (client) =>
        printKey(await client.createKey(key, changeOf(options)), options),
      );
    });
}

const changeOf = ({ opId }: Changed) => (opId === undefined ? {} : { opId });

function printKey(made: { readonly kid: string }, { json }: Shown): void {
  put(undefined, json === true ? line(made) : `${made.kid}\n`);
}

function list(): Command {
  return named('list', 'the keys of the tenant', '--purpose demo')
    .option('--purpose <name>', 'of this purpose only')
    .option('--alg <name>', 'of this algorithm only')
    .action((options: Shown & { purpose?: string; alg?: string }) => {
      const { purpose, alg, json } = options;
      const filter = { ...(purpose === undefined ? {} : { purpose }), ...(alg === undefined ? {} : { alg }) };
      return withClient(options, async (client) => {
        for await (const key of client.listKeys(filter))
          put(undefined, json === true ? line(key) : `${key.kid}  ${key.state}  ${key.created_at}\n`);
      });
    });
}

function show(): Command {
  return named('show', 'one key with its versions and public keys, as JSON', 'KID')
    .argument('<kid>')
    .action((kid: string, options: Shown) =>
      withClient(options, async (client) => {
        const key = await client.getKey(kid);
        put(undefined, options.json === true ? line(key) : `${JSON.stringify(key, null, 2)}\n`);
      }),
    );
}

function rotate(): Command {
  return named('rotate', 'make a new version, which signs from then on; prints its kid', 'KID')
    .argument('<kid>')
    .option(...opIdOption)
    .action((kid: string, options: Changed) =>
      withClient(options, async (client) =>
        printKey(await client.rotateKey(kid, changeOf(options)), options),
      ),
    );
}

function versionOf(text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new InvalidArgumentError('a version is a number from 1');
  return Number(text);
}

function destroy(): Command {
  return named('destroy', 'destroy a key for good, or one version of it', 'KID --yes')
    .argument('<kid>')
    .option('--version-number <n>', 'this version only', versionOf)
    .option('--yes', 'do it; without it nothing is done')
    .option(...opIdOption)
    .action((kid: string, options: Changed & { versionNumber?: number; yes?: boolean }) => {
      if (options.yes !== true) wrongUse('what is destroyed does not come back; say --yes');
      const { versionNumber: version } = options;
      return withClient(options, async (client) =>
        printKey(
          await client.destroyKey(kid, {
            ...changeOf(options),
            ...(version === undefined ? {} : { version }),
          }),
          options,
        ),
      );
    });
}

type Imported = Changed & { purpose?: string; alg?: string; kid?: string; public?: boolean };

function importKey(): Command {
  return named(
    'import',
    'make a key of material that exists: PKCS#8 (PEM or DER), or raw bytes of secret keys; it is wrapped here for the service alone',
    '--purpose tls --alg ecdsa-p256 key.pem',
  )
    .argument('<file>', 'the material; - for standard input')
    .option('--purpose <name>', 'of a new key')
    .option('--alg <name>', 'of a new key')
    .option('--kid <kid>', 'as the next version of this key')
    .option('--public', 'a public key alone (SubjectPublicKeyInfo, PEM or DER), which verifies only')
    .option(...opIdOption)
    .action(async (file: string, options: Imported) => {
      const { purpose, alg, kid } = options;
      const isNew = purpose !== undefined && alg !== undefined;
      if (isNew === (kid !== undefined)) wrongUse('give --purpose and --alg, or --kid');
      const key = kid === undefined ? { purpose: purpose as string, alg: alg as string } : { kid };
      const material = derOf(await fileBytes(file));
      await withClient(options, async (client) => {
        const made =
          options.public === true
            ? client.importKey({ ...key, spki: material }, changeOf(options))
            : client.importSecret(key, material, changeOf(options));
        printKey(await made, options);
      });
    });
}

/** The bytes within PEM (RFC 7468), or as they are. */
function derOf(bytes: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  const inner = /^-----BEGIN [A-Z ]+-----([\s\S]+?)-----END /m.exec(text)?.[1];
  return inner === undefined ? bytes : Buffer.from(inner, 'base64');
}
