import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Command } from 'commander';
import { isKeyName, type NoteKey, signatureTypes } from '../audit/format/note.ts';
import { newSkey, parseSkey, type WitnessKey } from '../audit/witness/keys.ts';
import { fileStore } from '../audit/witness/state.ts';
import { Witness } from '../audit/witness/witness.ts';
import { witnessServer } from '../audit/witness/witness-server.ts';
import { ownCommand } from '../core/own-package.ts';
import { judgeSecretFile } from '../core/secret-file.ts';
import { fail } from './fail.ts';
import { secretRule } from './settings.ts';
import { readVkeys } from './vkeys.ts';

const directoryHelp = 'where the keys and the newest checkpoint of each log lie';
const standardDirectory = './witness';

/** `witness init`, `witness serve`, `witness vkeys`. */
export function witnessCommand(): Command {
  return new Command('witness')
    .description(
      'a witness (C2SP tlog-witness) for a second machine: it cosigns a log as long as nothing is taken back',
    )
    .addCommand(initCommand())
    .addCommand(serveCommand())
    .addCommand(vkeysCommand());
}

function initCommand(): Command {
  return new Command('init')
    .description('make the keys of a new witness, Ed25519 and ML-DSA-44, and print their verifier keys')
    .requiredOption('--name <name>', 'what it signs as: a URL without scheme, such as witness.example/w1')
    .option('--dir <directory>', directoryHelp, standardDirectory)
    .addHelpText(
      'after',
      `\nExample:\n  ${ownCommand} witness init --name witness.example/w1 --dir /var/lib/intaglio-witness > w1.vkeys`,
    )
    .action(({ name, dir }: { name: string; dir: string }) => {
      if (!isKeyName(name)) fail('--name takes 1 to 255 characters without spaces and plus signs');
      if (existsSync(keyFile(dir))) fail(`there are keys already in ${keyFile(dir)}`);
      mkdirSync(dir, { recursive: true, mode: 0o700 });
      const types = [signatureTypes.ed25519Cosignature, signatureTypes.mlDsa44];
      const text = types.map((type) => `${newSkey(name, type)}\n`).join('');
      // wx: two of them at the same time must not overwrite each other's keys.
      writeFileSync(keyFile(dir), text, { mode: 0o600, flag: 'wx' });
      printVkeys(readKeys(dir));
    });
}

function vkeysCommand(): Command {
  return new Command('vkeys')
    .description('print the verifier keys, one a line, for the policy of a log')
    .option('--dir <directory>', directoryHelp, standardDirectory)
    .action(({ dir }: { dir: string }) => printVkeys(readKeys(dir)));
}

function serveCommand(): Command {
  return new Command('serve')
    .description(
      'serve POST /add-checkpoint and GET /<hash of the origin>/checkpoint until SIGTERM or SIGINT',
    )
    .requiredOption(
      '--log <file>',
      'the verifier keys of a log that it watches, one a line; may be repeated',
      (file: string, before: string[] | undefined) => [...(before ?? []), file],
    )
    .option('--dir <directory>', directoryHelp, standardDirectory)
    .option('--bind <host:port>', 'where it listens; port 0 takes a free one', '127.0.0.1:7442')
    .addHelpText(
      'after',
      `
A witness has no TLS of its own: it belongs behind a reverse proxy, or on a network that is trusted to deliver.
It refuses a log whose tree does not continue the one that it cosigned last; --dir is its memory of that and must
not be restored from a backup.

Example:
  ${ownCommand} witness serve --dir /var/lib/intaglio-witness --log kms-1.vkeys --bind 10.0.0.2:7442`,
    )
    .action(serve);
}

async function serve({ log, dir, bind }: { log: string[]; dir: string; bind: string }): Promise<void> {
  const [, host = '', port = ''] = /^(.+):([0-9]{1,5})$/.exec(bind) ?? [];
  if (host === '' || Number(port) > 65_535) fail('--bind takes host:port, such as 127.0.0.1:7442');
  const keys = readKeys(dir);
  const logs = new Map<string, readonly NoteKey[]>();
  for (const file of log) {
    const known = readVkeys(file);
    logs.set(known[0]!.name, [...(logs.get(known[0]!.name) ?? []), ...known]);
  }
  const store = fileStore(
    dir,
    keys.map(({ key }) => key),
  );
  // Sooner than at the first request: a state that is not its own needs a person.
  for (const origin of logs.keys()) store.load(origin);
  const signers = keys.map(({ signer }) => signer);
  const witness = new Witness({ signers, logs, store, nowS: () => Math.floor(Date.now() / 1000) });
  const server = witnessServer(witness, (error) =>
    say({ level: 'error', msg: 'state', error: String(error) }),
  );
  server.on('error', (error) => fail(`cannot listen on ${bind}: ${error.message}`));
  server.listen({ host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) }, () => {
    const { port: bound } = server.address() as AddressInfo;
    say({ msg: 'listening', url: `http://${host}:${bound}`, logs: [...logs.keys()] });
  });
  const stop = () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
}

function say(line: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function keyFile(directory: string): string {
  return join(directory, 'keys');
}

function readKeys(directory: string): WitnessKey[] {
  const path = keyFile(directory);
  if (!existsSync(path)) fail(`there are no keys in ${path}`, 'make them with: witness init --name <name>');
  const problem = judgeSecretFile(path, secretRule());
  if (problem !== undefined) fail(problem);
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  return lines.map((line) => {
    const key = parseSkey(line);
    return key.ok ? key.value : fail(`${path}: ${key.failure.hint}`);
  });
}

function printVkeys(keys: readonly WitnessKey[]): void {
  for (const { key } of keys) process.stdout.write(`${key.vkey}\n`);
}
