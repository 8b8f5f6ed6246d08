import { Command } from 'commander';
import type { SignAnswer } from '../../client/answers.ts';
import type { Signature } from '../../client/local-verification.ts';
import { failWith } from '../fail.ts';
import { digestOf, fileBytes, line, put } from './files.ts';
import { type AskedService, exitStatus, withClient, withService, wrongUse } from './service.ts';

interface Signed extends AskedService {
  readonly kid: string;
  readonly message?: boolean;
  readonly context?: string;
  readonly alg?: string;
}

async function inputOf(file: string, { message, context }: Signed) {
  const beside = context === undefined ? {} : { context: Buffer.from(context) };
  return message === true
    ? { message: await fileBytes(file), ...beside }
    : { payloadB3: await digestOf(file), ...beside };
}

function ofSignatures(name: string, description: string): Command {
  return withService(new Command(name).description(description))
    .argument('<file>', 'of any length; - for standard input')
    .requiredOption('--kid <kid>', 'the key')
    .option('--message', 'of the bytes themselves, and not of their BLAKE3 digest (docs/signing.md)')
    .option('--context <text>', 'of ML-DSA and composite keys')
    .option('--alg <name>', 'a way of the key: PS256, RS256, ES256 …');
}

export function signCommand(): Command {
  return ofSignatures('sign', 'sign a file; the signature is detached')
    .option('--out <file>', 'where the signature goes (default: standard output)')
    .option('--raw', 'the bytes of the one signature, and not JSON')
    .addHelpText('after', '\nExample:\n  intaglio sign --kid KID release.tar.gz --out release.tar.gz.sig')
    .action(async (file: string, options: Signed & { out?: string; raw?: boolean }) => {
      const input = await inputOf(file, options);
      const { kid, alg, out } = options;
      await withClient(options, async (client) => {
        const answer = await client.sign({ ...input, kid, ...(alg === undefined ? {} : { alg }) });
        put(out, options.raw === true ? onlySignature(answer) : line(answer));
      });
    });
}

function onlySignature({ sigs }: SignAnswer): Uint8Array {
  const [only, ...others] = sigs;
  if (only === undefined || others.length > 0)
    wrongUse(`--raw is for one signature; there are ${sigs.length}`);
  return Buffer.from(only.signature_b64, 'base64');
}

interface Verified extends Signed {
  readonly signature: string;
  readonly local?: boolean;
  readonly json?: boolean;
}

export function verifyFileCommand(): Command {
  return ofSignatures('verify', 'verify a detached signature; exit status 1 if it does not')
    .requiredOption('--signature <file>', 'what sign wrote, with --raw or without')
    .option('--local', 'by this process, with the public key of the service')
    .option('--json', 'the answer as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  intaglio verify --kid KID release.tar.gz --signature release.tar.gz.sig',
    )
    .action(async (file: string, options: Verified) => {
      const sigs = signaturesIn(await fileBytes(options.signature), options);
      const input = await inputOf(file, options);
      let valid = false;
      await withClient(options, async (client) => {
        const answer =
          options.local === true
            ? { ok: await client.verifyLocally(input, sigs) }
            : await client.verify({ ...input, sigs });
        valid = answer.ok;
        put(undefined, options.json === true ? line(answer) : valid ? 'ok\n' : '');
      });
      if (!valid) failWith(exitStatus.refused, 'does not verify');
    });
}

/** JSON of `{sigs}`, or the bytes of one signature. Signatures of another key than --kid are none of it. */
function signaturesIn(bytes: Uint8Array, { kid, alg }: Verified): readonly Signature[] {
  const text = Buffer.from(bytes).toString('utf8');
  if (!text.startsWith('{')) {
    const way = alg ?? kid.split('/')[2] ?? '';
    // Without a way the service goes by the length, and RSA's usual one is PS256.
    const usual = way.startsWith('rsa-') ? 'PS256' : way;
    return [{ kid, alg: usual, signature_b64: Buffer.from(bytes).toString('base64') }];
  }
  let sigs: readonly Signature[] | undefined;
  try {
    sigs = (JSON.parse(text) as { sigs?: readonly Signature[] }).sigs;
  } catch {
    // Told below.
  }
  if (!Array.isArray(sigs) || sigs.length === 0) return wrongUse('the signature is not JSON with sigs');
  const others = sigs.find((one: Signature) => one.kid !== kid && one.kid?.split('#')[0] !== kid);
  if (others !== undefined) failWith(exitStatus.refused, 'does not verify: the signature is of another key');
  return sigs;
}
