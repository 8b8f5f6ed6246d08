import { createPrivateKey, type KeyObject } from 'node:crypto';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { addOfflineAct, offlineActor } from '../../assemble/offline-acts.ts';
import { judgeSecretFile } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { ListedSourceOf } from '../../custody/root-key/listed-source.ts';
import { readSecretPlace } from '../../custody/root-key/secret-place.ts';
import { changeRootSources, readRootSources } from '../../custody/root-key/sources-file.ts';
import { refusedPinPath } from '../../custody/root-key/tpm-pin.ts';
import { accepted, approve, requestFor } from '../../custody/tpm/approval.ts';
import { pcrPolicy, pcrsOf } from '../../custody/tpm/policy.ts';
import { tpmSealing } from '../../custody/tpm/root-sealing.ts';
import { fail, refusing } from '../fail.ts';
import { configOf, type DataDirOption, dataDirOf } from './common.ts';
import { readOrFail } from './options.ts';

interface OfSource extends DataDirOption {
  readonly source?: string;
}

/** `root tpm`: other values of PCRs for a root key that is sealed to a TPM, with the operator's signature. */
export function tpmCommand(): Command {
  return new Command('tpm')
    .description('a root key that a TPM keeps: PCR values that the operator approves')
    .addCommand(requestCommand())
    .addCommand(authorizeCommand())
    .addCommand(acceptCommand())
    .addCommand(retryCommand());
}

function requestCommand(): Command {
  return ofSource(
    new Command('request').description(
      'ask the operator to approve the PCR values of this machine, as they are or as they will be',
    ),
  )
    .option(
      '--pcr <n=hex>',
      'a value that is foreseen, such as of the next kernel; once for each',
      foreseenIn,
      {},
    )
    .option('--out <file>', 'where the request is written (default: standard output)')
    .addHelpText(
      'after',
      `
The service may run meanwhile. Values that a change will bring come from the tools of who makes it, such as systemd-measure.

Examples:
  npm run -s intaglio -- root tpm request --out request.json
  npm run -s intaglio -- root tpm request --pcr 4=0123...cdef --out request.json`,
    )
    .action((options: OfSource & { readonly pcr: Readonly<Record<string, string>>; readonly out?: string }) =>
      refusing(async () => {
        const { source } = sourceOf(options);
        const now = await tpmSealing.values(source);
        put(requestFor(source, now, options.pcr), options.out);
      }),
    );
}

function authorizeCommand(): Command {
  return new Command('authorize')
    .description(
      "sign the PCR values of a request with the operator's key; on the operator's machine, which needs no TPM",
    )
    .requiredOption(
      '--key <file>',
      "the operator's private key of P-256, in PEM; it never has to be on the machine of the service",
    )
    .requiredOption(
      '--request <file>',
      'as root tpm request made it; see that its values are what you expect',
    )
    .option('--passphrase-file <file>', 'of a key that is encrypted (default: asked at the terminal)')
    .option('--out <file>', 'where the approval is written (default: standard output)')
    .addHelpText(
      'after',
      `
Example:
  npm run -s intaglio -- root tpm authorize --key operator.pem --request request.json --out approval.json`,
    )
    .action(({ key, passphraseFile, request, out }: AuthorizeOptions) =>
      refusing(async () => {
        const approval = approve(readOrFail(request), await privateKeyIn(key, passphraseFile));
        const { source, reference } = approval;
        process.stderr.write(`intaglio: for the source ${source} of reference ${reference}\n`);
        for (const pcr of pcrsOf(approval.values))
          process.stderr.write(`intaglio: PCR ${pcr} ${approval.values[pcr]}\n`);
        put(approval, out);
      }),
    );
}

interface AuthorizeOptions {
  readonly key: string;
  readonly passphraseFile?: string;
  readonly request: string;
  readonly out?: string;
}

function acceptCommand(): Command {
  return ofSource(
    new Command('accept').description(
      'take an approval into the list of sources, from which the next start has it',
    ),
  )
    .argument('<approval>', 'as root tpm authorize made it')
    .addHelpText(
      'after',
      `
The service may run meanwhile: approve the next kernel before the machine is booted with it.

Example:
  npm run -s intaglio -- root tpm accept approval.json`,
    )
    .action((file: string, options: OfSource) =>
      refusing(async () => {
        const { source, dataDir } = sourceOf(options);
        const bytes = readOrFail(file);
        const approved = [...accepted(source, bytes, Date.now())];
        // Before the list: an act that is told in vain is better than one that is not told.
        const policy = pcrPolicy(approved.at(-1)?.values ?? {}).toString('hex');
        addOfflineAct(dataDir, {
          ...{ type: 'root.approved', atMs: Date.now(), actor: offlineActor() },
          ...{ reason: "signed by the operator's key", facts: { source: source.id, policy } },
        });
        // A rotation that goes on has the source twice for a while.
        changeRootSources(dataDir, (now = []) =>
          now.map((one) =>
            one.kind === 'tpm' && one.reference === source.reference
              ? { ...one, approved: [...accepted(one, bytes, Date.now())] }
              : one,
          ),
        );
        process.stdout.write(`${source.id} opens under ${approved.length + 1} sets of PCR values\n`);
      }),
    );
}

function retryCommand(): Command {
  return ofSource(new Command('retry').description('let a PIN that the TPM refused be tried again, once'))
    .addHelpText(
      'after',
      `
A PIN in a file is tried again by itself when its file changes.

Example:
  npm run -s intaglio -- root tpm retry`,
    )
    .action((options: OfSource) =>
      refusing(async () => {
        const { source, dataDir } = sourceOf(options);
        rmSync(refusedPinPath(dataDir, source.id), { force: true });
      }),
    );
}

function ofSource(command: Command): Command {
  return dataDirOf(command).option('--source <id>', 'its name in the list, where there are several of a TPM');
}

/** Throws a StartError. */
function sourceOf(options: OfSource): {
  readonly source: ListedSourceOf<'tpm'>;
  readonly dataDir: string;
} {
  const { dataDir } = configOf(options);
  const read = readRootSources(dataDir);
  if (!read.ok) throw new StartError(read.failure.hint ?? 'the list of sources cannot be read');
  const all = read.value?.sources ?? [];
  const ofTpm = all.filter((one) => one.kind === 'tpm');
  const found = ofTpm.filter(({ id }) => options.source === undefined || id === options.source);
  // While the root key is rotated a source is there twice, the newer one last.
  const source = found.at(-1);
  const others = found.filter(({ reference }) => reference !== source?.reference);
  if (source === undefined)
    throw new StartError('the root key has no such source that is a TPM: intaglio root source list');
  if (others.length > 0)
    throw new StartError(`give --source: one of ${ofTpm.map(({ id }) => id).join(', ')}`);
  return { source, dataDir };
}

async function privateKeyIn(path: string, passphraseFile: string | undefined): Promise<KeyObject> {
  const rule = { groupAllowed: false };
  const pem = readOrFail(path);
  let passphrase: Buffer | undefined;
  try {
    const problem = judgeSecretFile(path, rule, statSync(path));
    if (problem !== undefined) fail(problem);
    // As PKCS#8 and as openssl ec write it.
    if (pem.includes('ENCRYPTED'))
      passphrase = await readSecretPlace(
        passphraseFile === undefined ? { from: 'terminal' } : { from: 'file', path: passphraseFile },
        `passphrase of ${path}`,
        { dataDir: process.cwd(), rule, credentials: undefined },
      );
    const key = p256KeyIn(pem, passphrase);
    if (key !== undefined) return key;
  } finally {
    pem.fill(0);
    passphrase?.fill(0);
  }
  return fail(
    `${path} holds no private key of P-256 in PEM${passphrase === undefined ? '' : ', or this is not its passphrase'}`,
  );
}

/** Undefined alike for what is no key, what is another one, and what the passphrase does not open. */
function p256KeyIn(pem: Buffer, passphrase: Buffer | undefined): KeyObject | undefined {
  try {
    const key = createPrivateKey({ key: pem, format: 'pem', ...(passphrase && { passphrase }) });
    return key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? key : undefined;
  } catch {
    return undefined;
  }
}

function put(message: object, path: string | undefined): void {
  const text = `${JSON.stringify(message, null, 2)}\n`;
  if (path === undefined) process.stdout.write(text);
  else writeFileSync(path, text, { mode: 0o600 });
}

function foreseenIn(
  text: string,
  before: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const [, pcr, value] = /^(\d|1\d|2[0-3])=([0-9a-f]{64})$/i.exec(text) ?? [];
  if (pcr === undefined || value === undefined)
    throw new InvalidArgumentError('the number of a PCR, =, and 64 hex digits');
  return { ...before, [pcr]: value.toLowerCase() };
}
