import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { parsePolicy, type WitnessPolicy } from '../audit/witness/policy.ts';
import type { BackupHead, Manifest } from '../backup/manifest.ts';
import type { BackupReason } from '../backup/refusal.ts';
import type { Restored } from '../backup/restore.ts';
import type { Config } from '../config/load.ts';
import { manifest } from '../core/own-package.ts';
import { judgeSecretFile } from '../core/secret-file.ts';
import type { OpenWith, SealTo } from '../custody/root-key/age.ts';
import { fail, failWith } from './fail.ts';
import { Progress } from './progress.ts';
import { secretRule, settingsOrFail } from './settings.ts';

/** 1 is for everything else, so that a script can tell what a person has to look at. */
const statusOf: Partial<Record<BackupReason, number>> = {
  damaged: 2,
  not_a_backup: 2,
  unknown_version: 2,
  too_large: 2,
  unsafe_entry: 2,
  wrong_key: 3,
  older_than_known: 4,
};
const statusHelp = `
Exit status: 0 done; 1 the command could not be carried out; 2 the file is damaged or no backup; 3 passphrase or identity do not
open it; 4 it is older than what is known, and --accept-rollback is missing.`;

const dataDirHelp = 'the data directory (default: KMS_DATA_DIR, or ./data)';
const passphraseHelp = 'a file (0600) whose first line is the passphrase';

/** `backup create`, `backup verify`, `backup restore`. */
export function backupCommand(): Command {
  return new Command('backup')
    .description('one sealed file of a whole data directory: keys, audit log, macaroon keys, root key')
    .addCommand(createCommand())
    .addCommand(verifyCommand())
    .addCommand(restoreCommand())
    .addHelpText('after', '\nWhat is in it, and how to rehearse a restore: docs/backup.md');
}

interface CreateFlags {
  readonly out: string;
  readonly passphraseFile?: string;
  readonly recipient?: readonly string[];
  readonly dataDir?: string;
  readonly withoutRootKey?: true;
  readonly force?: true;
}

function createCommand(): Command {
  return new Command('create')
    .description('make a backup, also while the service runs')
    .requiredOption('--out <file>', 'the file, mode 0600; one that is there is not replaced')
    .option('--passphrase-file <file>', passphraseHelp)
    .option(
      '--recipient <age1...>',
      'a public key of age: age1..., or age1pq1... against quantum computers; may be repeated',
      (value: string, before: readonly string[] = []) => [...before, value],
    )
    .option('--data-dir <directory>', dataDirHelp)
    .option('--without-root-key', 'leave out a root key that lies in a file in clear')
    .option('--force', 'replace a file that is there')
    .addHelpText(
      'after',
      `
The file is of the age format (https://age-encryption.org/v1), and a tar archive inside.

Examples:
  npm run -s intaglio -- backup create --out /backup/kms.age --recipient age1pq1...
  npm run -s intaglio -- backup create --out /backup/kms.age --passphrase-file /root/backup.passphrase
${statusHelp}`,
    )
    .action(create);
}

async function create(flags: CreateFlags): Promise<void> {
  const config = configOf(flags.dataDir);
  const { out, force = false, withoutRootKey = false } = flags;
  const { createBackup } = await import('../backup/create.ts');
  const { dataDir, auditDir, rootKeyFile, rootKeyFd } = config;
  const progress = new Progress('backing up', 'bytes');
  const interrupted = new AbortController();
  // Once: who is in more of a hurry says it twice.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
  const made = await createBackup({
    ...{ out, sealTo: sealToOf(flags), withRootKey: !withoutRootKey, force, version: manifest.version },
    places: { dataDir, auditDir, rootKeyFile, rootKeyFd },
    progress: (done, of) => progress.at(done, of),
    signal: interrupted.signal,
  });
  progress.end();
  if (!made.ok) return failWith(statusOf[made.reason] ?? 1, made.detail);
  const { head, manifest: listed, bytes, skipped, removed } = made.value;
  for (const name of removed)
    process.stderr.write(`intaglio: removed ${name}, which an interrupted backup left\n`);
  for (const name of skipped) process.stderr.write(`intaglio: left out for its name: ${name}\n`);
  process.stdout.write(`${out}: ${bytes} bytes, ${described(head, listed)}\n`);
}

interface OpenFlags {
  readonly in: string;
  readonly passphraseFile?: string;
  readonly identity?: string;
}

function opening(command: Command): Command {
  return command
    .requiredOption('--in <file>', 'the backup')
    .option('--passphrase-file <file>', passphraseHelp)
    .option('--identity <file>', 'an identity file of age (0600): AGE-SECRET-KEY-... lines');
}

function verifyCommand(): Command {
  return opening(new Command('verify'))
    .description('read a whole backup and hold every part against its manifest; nothing is restored')
    .addHelpText(
      'after',
      `${statusHelp}

Example:
  npm run -s intaglio -- backup verify --in /backup/kms.age --identity /root/backup.identity`,
    )
    .action(verify);
}

async function verify(flags: OpenFlags): Promise<void> {
  const { verifyBackup } = await import('../backup/read.ts');
  const progress = new Progress('verifying', 'bytes');
  const verified = await verifyBackup(flags.in, openWithOf(flags), (done, of) => progress.at(done, of));
  progress.end();
  if (!verified.ok) return failWith(statusOf[verified.reason] ?? 1, verified.detail);
  const { head, manifest: listed } = verified.value;
  process.stdout.write(`${flags.in}: ${described(head, listed)}\n`);
}

interface RestoreFlags extends OpenFlags {
  readonly dataDir?: string;
  readonly replace?: true;
  readonly acceptRollback?: string;
}

function restoreCommand(): Command {
  return opening(new Command('restore'))
    .description('make the data directory of a backup, whole or not at all')
    .option('--data-dir <directory>', `${dataDirHelp}; empty, or not there yet`)
    .option('--replace', 'move aside what is there, into a folder of the directory')
    .option(
      '--accept-rollback <reason>',
      'the directory or a witness knows a later state of the log: restore the older one all the same; the reason goes onto the audit log',
    )
    .addHelpText(
      'after',
      `
With KMS_AUDIT_WITNESS_POLICY the witnesses are asked what they hold. Killed at any point, it is run again: it finishes, or begins
anew; no service starts in between.
${statusHelp}

Example:
  npm run -s intaglio -- backup restore --in /backup/kms.age --identity /root/backup.identity --data-dir /var/lib/intaglio`,
    )
    .action(restore);
}

async function restore(flags: RestoreFlags): Promise<void> {
  const config = configOf(flags.dataDir);
  const { acceptRollback, replace = false } = flags;
  if (acceptRollback !== undefined && (acceptRollback.length < 1 || acceptRollback.length > 500))
    fail('--accept-rollback takes a reason of 1 to 500 characters');
  const { restoreBackup } = await import('../backup/restore.ts');
  const progress = new Progress('restoring', 'bytes');
  const dataDir = resolve(config.dataDir);
  const apart = resolve(config.auditDir) !== resolve(dataDir, 'audit');
  const restored = await restoreBackup({
    ...{ from: flags.in, opens: openWithOf(flags), secretRule: secretRule(), replace, acceptRollback },
    targets: { dataDir, auditDir: apart ? resolve(config.auditDir) : undefined },
    witnesses: witnessesOf(config),
    progress: (done, of) => progress.at(done, of),
    warn: (text) => process.stderr.write(`intaglio: ${text}\n`),
  });
  progress.end();
  if (!restored.ok) return failWith(statusOf[restored.reason] ?? 1, restored.detail);
  process.stdout.write(`${dataDir}: ${outcomeInWords(restored.value)}\n`);
}

function outcomeInWords(restored: Restored): string {
  if (restored.kind === 'completed')
    return `the restore of the backup ${restored.backup}, which was interrupted, is complete`;
  const { head, manifest: listed, aside } = restored;
  const before = aside === undefined ? '' : `; what was there is in ${aside}`;
  return `restored: ${described(head, listed)}${before}`;
}

function described(head: BackupHead, { records, checkpoint, entries }: Manifest): string {
  const log =
    checkpoint === undefined
      ? 'no checkpoint of the log'
      : `the log up to ${checkpoint.size} records of ${checkpoint.origin}, and what follows`;
  const made = new Date(head.createdAtMs).toISOString();
  const root = head.rootKey.map(({ source, inside }) => `${source} ${inside ? 'in it' : 'NOT in it'}`);
  return `backup ${head.id} of ${made}${head.live ? ', of a log that was being written' : ''}: ${entries.length} parts, ${records} records in the store, ${log}; root key: ${root.join(', ') || 'none'}`;
}

function configOf(dataDir: string | undefined): Config {
  const { config } = settingsOrFail(dataDir === undefined ? [] : ['--data-dir', dataDir]);
  if (config.amnesia || config.backend === 'memory')
    fail('this service keeps nothing on disk: there is nothing to back up or restore');
  return config;
}

function sealToOf({ passphraseFile, recipient: recipients }: CreateFlags): SealTo {
  if ((passphraseFile === undefined) === (recipients === undefined))
    fail('give --passphrase-file, or one or more --recipient');
  return passphraseFile === undefined
    ? { recipients: recipients ?? [] }
    : { passphrase: passphraseIn(passphraseFile) };
}

function openWithOf({ passphraseFile, identity }: OpenFlags): OpenWith {
  if ((passphraseFile === undefined) === (identity === undefined))
    fail('give --passphrase-file or --identity');
  if (passphraseFile !== undefined) return { passphrase: passphraseIn(passphraseFile) };
  const lines = secretIn(identity ?? '')
    .split('\n')
    .map((line) => line.trim());
  const identities = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (identities.length === 0) fail(`${identity} has no identity of age`);
  return { identities };
}

function passphraseIn(file: string): string {
  const [passphrase = ''] = secretIn(file).split(/\r?\n/);
  if (passphrase.length < minPassphraseCharacters)
    fail(`${file}: a passphrase has at least ${minPassphraseCharacters} characters`);
  return passphrase;
}

/** A passphrase is guessed offline, at 2^18 rounds of scrypt a try; a random one of these lasts. */
const minPassphraseCharacters = 12;
const maxSecretBytes = 64 * 1024;

function secretIn(path: string): string {
  let text: Buffer;
  try {
    const problem = judgeSecretFile(path, secretRule());
    if (problem !== undefined) fail(problem);
    text = readFileSync(path);
  } catch (cause) {
    return fail(`cannot read ${path}: ${(cause as NodeJS.ErrnoException).code}`);
  }
  if (text.length > maxSecretBytes) fail(`${path} is too large for a secret`);
  return text.toString('utf8');
}

function witnessesOf({ auditWitnessPolicy: file }: Config): WitnessPolicy | undefined {
  if (file === 'none') return undefined;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    return fail(`the witness policy ${file} cannot be read (${(cause as NodeJS.ErrnoException).code})`);
  }
  const parsed = parsePolicy(text);
  return parsed.ok ? parsed.policy : fail(`the witness policy ${file}: ${parsed.problem}`);
}
