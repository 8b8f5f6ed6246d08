import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { followTransitions, type ProvenTransition } from '../../audit/disk/key-transition.ts';
import type { NoteKey } from '../../audit/format/note.ts';
import { verifyTlogProof } from '../../audit/format/tlog-proof.ts';
import { type Verified, verifyLog } from '../../audit/reading/verify.ts';
import { ownCommand } from '../../core/own-package.ts';
import { fail, failWith } from '../fail.ts';
import { Progress } from '../progress.ts';
import { demandBothTypes, readVkeys } from '../vkeys.ts';
import {
  archivedFlag,
  archivedHelp,
  archiveFlag,
  archiveHelp,
  countOf,
  keysHelp,
  logHelp,
  notVerified,
  openLog,
  readInput,
  trusted,
} from './open-log.ts';

interface Options {
  keys: string;
  saveKeys?: string;
  older?: string[];
  proof?: string;
  entry?: string;
  allowSingle?: boolean;
  allowArchived?: string;
  archive?: string;
  json?: boolean;
}

export function verifyCommand(): Command {
  return new Command('verify')
    .description('check a whole log against its signed checkpoint, or one record against its proof')
    .argument('[log]', logHelp)
    .requiredOption('--keys <file>', keysHelp)
    .option(
      '--older <checkpoint>',
      'a checkpoint kept from an earlier day, which the log must continue; may be repeated',
      (file: string, before: string[] | undefined) => [...(before ?? []), file],
    )
    .option(
      '--save-keys <file>',
      'write the keys that are trusted in the end, where the log has replaced those of --keys',
    )
    .option('--proof <file>', 'a proof (*.tlog-proof) instead of a log; with --entry')
    .option('--entry <file>', 'the record that the proof is for, to the byte')
    .option(
      '--allow-single',
      'let --keys have keys of one type only: the other signature is not checked then',
    )
    .option(archiveFlag, archiveHelp)
    .option(archivedFlag, archivedHelp)
    .option('--json', 'the result as a JSON object on standard output')
    .addHelpText(
      'after',
      `
What is checked of a log: the signatures of both types (Ed25519 and ML-DSA-44; with --allow-single of the one that --keys has), every record and its hash, every hash of every
tile, the root, and that each key's records are numbered without a hole. Keys come from --keys, and never from the log but
where a checkpoint that keys of --keys signed has a record that replaces one of them; that is followed from key to key. The oldest entries may be missing where a record of the log says that they are no longer kept;
else their range is named, and the log does not verify without --allow-archived.

Exit status: 0 everything fits; 1 the command could not be carried out; 2 the log or the proof does not fit.

Examples:
  ${ownCommand} audit verify data/audit --keys audit.vkeys
  ${ownCommand} audit verify /srv/export --keys audit.vkeys --older checkpoint-of-last-month
  ${ownCommand} audit verify --keys audit.vkeys --proof 12345.tlog-proof --entry 12345.json`,
    )
    .action((log: string | undefined, options: Options) => {
      if (log !== undefined && options.proof === undefined && options.entry === undefined)
        verify(log, options);
      else if (log === undefined && options.proof !== undefined && options.entry !== undefined) {
        verifyProof(options.proof, options.entry, options);
      } else fail('give a log, or --proof with --entry');
    });
}

function verify(
  directory: string,
  { keys: keysFile, saveKeys, older = [], allowSingle, allowArchived = '0', archive, json }: Options,
): void {
  const archivedBefore = countOf(allowArchived, '--allow-archived');
  const trustedKeys = readVkeys(keysFile);
  demandBothTypes(trustedKeys, keysFile, allowSingle === true);
  const opened = openLog(directory, archive);
  const followed = followTransitions((path) => opened.tiles.read(path), trustedKeys);
  if (!followed.ok) failWith(notVerified, `${directory}: ${followed.failure.hint}`);
  const { keys, transitions } = followed.value;
  // A checkpoint over all transitions that were read, though the log goes on meanwhile.
  const log = opened.refresh();
  const checkpoint = trusted(log.note, keys, directory);
  // Before the first entry that is kept, what was the root cannot be computed any more.
  const ofTransitions = transitions
    .map((transition) => transition.checkpoint)
    .filter(({ size }) => size > log.minimumIndex);
  const olderOnes = [...older.map((file) => trusted(readInput(file), keys, file)), ...ofTransitions];
  const progress = new Progress('verifying', 'records');
  const run = verifyLog(log.tiles, checkpoint, {
    ...{ minimumIndex: log.minimumIndex, archivedBefore },
    older: olderOnes,
    laterEpoch: /\/e[0-9]+$/.test(checkpoint.origin),
  });
  let step = run.next();
  for (; !step.done; step = run.next()) progress.at(step.value.done, step.value.size);
  progress.end();
  const result = step.value;
  const facts = {
    verified: result.findings.length === 0,
    origin: checkpoint.origin,
    size: checkpoint.size,
    root: Buffer.from(checkpoint.root).toString('base64'),
    signatures: checkpoint.verifiedBy.map(({ key }) => `${key.name}+${key.id}`),
    transitions: transitions.map(({ index, oldKey, newKey, notBeforeS }) => ({
      index,
      from: `${oldKey.name}+${oldKey.id}`,
      to: `${newKey.name}+${newKey.id}`,
      not_before: new Date(notBeforeS * 1000).toISOString(),
    })),
    ...result,
    seconds: Math.round(progress.seconds * 10) / 10,
  };
  process.stdout.write(json === true ? `${JSON.stringify(facts, null, 2)}\n` : summary(facts));
  process.exitCode = facts.verified ? 0 : notVerified;
  if (saveKeys !== undefined && facts.verified) save(saveKeys, keys, transitions);
}

/** Those that nothing has replaced. */
function save(file: string, keys: readonly NoteKey[], transitions: readonly ProvenTransition[]): void {
  const replaced = new Set(transitions.map(({ oldKey }) => oldKey.vkey));
  const kept = keys.filter(({ vkey }) => !replaced.has(vkey));
  writeFileSync(file, kept.map(({ vkey }) => `${vkey}\n`).join(''));
}

interface Facts extends Verified {
  readonly verified: boolean;
  readonly origin: string;
  readonly size: number;
  readonly root: string;
  readonly signatures: readonly string[];
  readonly transitions: readonly { readonly index: number; readonly from: string; readonly to: string }[];
  readonly seconds: number;
}

function timeOf(ts: number | undefined): string {
  return ts === undefined ? '-' : new Date(ts / 1000).toISOString();
}

function notHere({ firstHere, keptFrom }: Pick<Verified, 'firstHere' | 'keptFrom'>): string {
  const says = keptFrom === 0 ? 'no record says' : `a record says that those before ${keptFrom} are`;
  return `not here    entries 0 to ${firstHere - 1}; ${says}${keptFrom === 0 ? ' that they are' : ''} no longer kept`;
}

function summary({ verified, origin, size, root, signatures, records, keys, ...rest }: Facts): string {
  const lines = [
    `origin      ${origin}`,
    `size        ${size}`,
    `root        ${root}`,
    `signed by   ${signatures.join(', ')}`,
    `records     ${records} of ${keys} keys, ${timeOf(rest.firstTs)} to ${timeOf(rest.lastTs)}, read in ${rest.seconds} s`,
    ...(rest.firstHere > 0 ? [notHere(rest)] : []),
    ...rest.transitions.map(({ index, from, to }) => `new key     ${to} for ${from}, by record ${index}`),
    ...rest.findings.map(({ index, what }) => `NOT RIGHT   at ${index}: ${what}`),
    verified ? 'verified: the log is what its checkpoint says' : 'NOT VERIFIED',
  ];
  return `${lines.join('\n')}\n`;
}

function verifyProof(
  proofFile: string,
  entryFile: string,
  { keys: keysFile, allowSingle, json }: Options,
): void {
  const keys = readVkeys(keysFile);
  demandBothTypes(keys, keysFile, allowSingle === true);
  const entry = readInput(entryFile);
  const proven = verifyTlogProof(readInput(proofFile), entry, keys[0]!.name, keys);
  if (!proven.ok) failWith(notVerified, proven.failure.hint ?? '');
  const { index, checkpoint } = proven.value;
  const facts = { verified: true, index, origin: checkpoint.origin, size: checkpoint.size };
  process.stdout.write(
    json === true
      ? `${JSON.stringify(facts, null, 2)}\n`
      : `verified: the record is number ${index} of ${checkpoint.origin}, as its checkpoint of ${checkpoint.size} says\n`,
  );
}
