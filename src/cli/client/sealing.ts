import { Command, InvalidArgumentError } from 'commander';
import { fileBytes, jsonOf, line, put } from './files.ts';
import { type AskedService, withClient, withService, wrongUse } from './service.ts';

interface Sealing extends AskedService {
  readonly kid: string;
  readonly aad?: string;
  readonly out?: string;
  readonly size?: 16 | 32 | 64;
}

function ofSealing(name: string, description: string, example: string): Command {
  return withService(new Command(name).description(description))
    .option('--aad <text>', 'what the plaintext is about; the same is needed to open it')
    .option('--out <file>', 'where it goes (default: standard output)')
    .addHelpText('after', `\nExample:\n  intaglio ${name} ${example}`);
}

const aadOf = ({ aad }: Sealing) => (aad === undefined ? {} : { aad: Buffer.from(aad) });

export function encryptCommand(): Command {
  return ofSealing(
    'encrypt',
    'encrypt a file of at most 64 KiB; writes JSON',
    '--kid KID secret.txt --out secret.enc',
  )
    .argument('<file>', '- for standard input')
    .requiredOption('--kid <kid>', 'the key')
    .action(async (file: string, options: Sealing) => {
      const plaintext = await fileBytes(file);
      await withClient(options, async (client) =>
        put(options.out, line(await client.encrypt(options.kid, plaintext, aadOf(options)))),
      );
    });
}

export function decryptCommand(): Command {
  return ofSealing('decrypt', 'decrypt what encrypt wrote', 'secret.enc --out secret.txt')
    .argument('<file>', '- for standard input')
    .action(async (file: string, options: Sealing) => {
      const sealed = await jsonOf(file, 'kid', 'nonce_b64', 'ciphertext_b64');
      await withClient(options, async (client) =>
        put(options.out, await client.decrypt(sealed, aadOf(options))),
      );
    });
}

function sizeOf(text: string): number {
  if (!['16', '32', '64'].includes(text)) throw new InvalidArgumentError('16, 32 or 64 bytes');
  return Number(text);
}

export function wrapCommand(): Command {
  return ofSealing(
    'wrap',
    'wrap a key of a file, or with --size a new one that nobody is told; writes JSON',
    '--kid KID --size 32 --out data.key.wrapped',
  )
    .argument('[file]', '- for standard input')
    .requiredOption('--kid <kid>', 'the key that wraps')
    .option('--size <bytes>', '16, 32 or 64', sizeOf)
    .action(async (file: string | undefined, options: Sealing) => {
      const { size, kid, out } = options;
      if ((file === undefined) === (size === undefined)) wrongUse('give either a file or --size');
      const key = size ?? (await fileBytes(file as string));
      await withClient(options, async (client) =>
        put(out, line(await client.wrap(kid, key, aadOf(options)))),
      );
    });
}

export function unwrapCommand(): Command {
  return ofSealing('unwrap', 'unwrap what wrap wrote', 'data.key.wrapped --out data.key')
    .argument('<file>', '- for standard input')
    .action(async (file: string, options: Sealing) => {
      const wrapped = await jsonOf(file, 'kid', 'wrapped_b64');
      await withClient(options, async (client) =>
        put(options.out, await client.unwrap(wrapped, aadOf(options))),
      );
    });
}

function epochOf(text: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw new InvalidArgumentError('a whole number from 0');
  return Number(text);
}

export function deriveCommand(): Command {
  return withService(
    new Command('derive').description('derive a key: the same input gives the same key; prints its kid'),
  )
    .requiredOption('--kid <kid>', 'an hkdf-sha256 key')
    .requiredOption('--alg <name>', 'of the derived key')
    .requiredOption('--origin <text>', 'part of its label')
    .requiredOption('--instance <text>', 'part of its label')
    .requiredOption('--epoch <n>', 'part of its label', epochOf)
    .option('--json', 'the answer as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  intaglio derive --kid KID --alg aes-256-gcm --origin edge-1.example --instance a --epoch 7',
    )
    .action(
      (options: Sealing & { alg: string; origin: string; instance: string; epoch: number; json?: boolean }) =>
        withClient(options, async (client) => {
          const { kid, alg, origin, instance, epoch, json } = options;
          const made = await client.derive(kid, alg, { origin, instance, epoch });
          put(undefined, json === true ? line(made) : `${made.kid}\n`);
        }),
    );
}
