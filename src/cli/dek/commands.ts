import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { type LineKey, lineKeyBytes, lineKeyOf, readLineHead } from '../../audit/lines/line.ts';
import { lineFiles } from '../../audit/lines/line-file.ts';
import { verifyLines } from '../../audit/lines/verify-lines.ts';
import { readPrivateFile } from '../../core/private-file.ts';
import { fail, failWith, refusing } from '../fail.ts';
import { Progress } from '../progress.ts';
import { secretRule } from '../settings.ts';
import type { StoppedDeksFlags } from './stopped-deks.ts';

const dataDirOption = ['--data-dir <dir>', 'the data directory of serve-dek'] as const;

/** `dek`: what operators do with data encryption keys. */
export function dekCommand(): Command {
  return new Command('dek')
    .description(
      'data encryption keys of serve-dek: the audit lines, another master key, keys of a service before, keys from their snapshots; docs/dek.md',
    )
    .addCommand(auditCommand())
    .addCommand(resealCommand())
    .addCommand(importCommand())
    .addCommand(restoreCommand());
}

function auditCommand(): Command {
  return new Command('audit')
    .description('look for lines of kms-audit.log that were altered, removed or moved')
    .requiredOption(...dataDirOption)
    .addHelpText(
      'after',
      `
The service may run meanwhile. Exit status: 0 every line is in its place; 1 it could not be read; 2 something is wrong, and where.

Example:
  intaglio dek audit --data-dir /var/lib/intaglio/dek`,
    )
    .action(async ({ dataDir }: { dataDir: string }) => {
      const read = readPrivateFile(join(dataDir, lineFiles.key), lineKeyBytes, secretRule());
      if (!read.ok) fail(read.problem);
      const key = lineKeyOf(read.bytes);
      const log = join(dataDir, lineFiles.log);
      if (lstatSync(log, { throwIfNoEntry: false })?.isFile() !== true) fail(`there is no file ${log}`);
      const { lines, problems, head } = await verifyAtRest(log, join(dataDir, lineFiles.head), key);
      for (const { line, problem } of problems) process.stderr.write(`line ${line}: ${problem}\n`);
      if (head === undefined)
        process.stderr.write(
          `${lineFiles.head} is missing or altered: lines that are cut off at the end are not missed\n`,
        );
      if (problems.length > 0 || head === undefined)
        failWith(2, `${lines} lines, ${problems.length} problems`);
      process.stdout.write(`${lines} lines, each in its place\n`);
    });
}

/** A service may be writing a line at this moment: one without an end is looked at again. */
async function verifyAtRest(log: string, headFile: string, key: LineKey) {
  for (let turn = 1; ; turn++) {
    // Before the lines, which are never behind it.
    const head = existsSync(headFile) ? readLineHead(key, readFileSync(headFile, 'latin1')) : undefined;
    const verified = await verifyLines(log, key, head);
    if (!verified.unended || turn === maxTurns) return { ...verified, head };
    await delay(turnMs);
  }
}

/** A page of lines is written within milliseconds. */
const turnMs = 200;
const maxTurns = 5;

function resealCommand(): Command {
  return new Command('reseal')
    .description('another master key: seals every record anew; the service is stopped')
    .requiredOption('--old-config <file>', 'with the master key of now')
    .requiredOption('--config <file>', 'with the next one')
    .requiredOption(...dataDirOption)
    .addHelpText(
      'after',
      `
Where it is killed, the same command goes on. Start with --config from then on. A directory that was made without a configuration has
its master key in root.key: name that by master_key_file in --old-config, and remove it when this is done.

Example:
  intaglio dek reseal --old-config old.yaml --config new.yaml --data-dir /var/lib/intaglio/dek`,
    )
    .action((flags: { oldConfig: string; config: string; dataDir: string }) =>
      refusing(async () => {
        const { reseal } = await import('./reseal.ts');
        const progress = new Progress('sealing anew', 'records');
        await reseal(flags, (done, total) => progress.at(done, total));
        progress.end();
        process.stdout.write('every record is sealed under the next master key\n');
      }),
    );
}

function importCommand(): Command {
  return new Command('import')
    .description(
      'DEKs of a service before this one, from JSON lines {key_id, wrapped, thread_id?}; the service is stopped',
    )
    .requiredOption('--in <file>', 'JSON lines')
    .requiredOption(
      '--old-kek-file <file>',
      'the KEK that wraps them: 32 bytes, or 64 hexadecimal digits; mode 0600',
    )
    .requiredOption(...dataDirOption)
    .option('--config <file>', 'as of serve-dek')
    .addHelpText(
      'after',
      `
wrapped is base64 of nonce || ciphertext || tag, AES-256-GCM without AAD. A line that is wrong stops the import before anything is
written; an id that is there with the same key is passed over. A data directory that is not there yet is made.

Example:
  intaglio dek import --in deks.jsonl --old-kek-file old.kek --data-dir /var/lib/intaglio/dek --config dek.yaml`,
    )
    .action((flags: { in: string; oldKekFile: string; dataDir: string; config?: string }) =>
      refusing(async () => {
        const { importDeks } = await import('./import-deks.ts');
        const progress = new Progress('importing', 'DEKs');
        const { imported, there } = await importDeks(flags, (done, total) => progress.at(done, total));
        progress.end();
        process.stdout.write(`${imported} imported, ${there} were there\n`);
      }),
    );
}

function restoreCommand(): Command {
  return new Command('restore')
    .description('a DEK as it was before a rotation of the KEK, from kms-deks-backup; the service is stopped')
    .requiredOption('--key-id <id>', 'the DEK')
    .option(
      '--from <version>',
      'the rotation to this version of the KEK; the last one that has a snapshot of the DEK',
    )
    .requiredOption(...dataDirOption)
    .option('--config <file>', 'as of serve-dek')
    .addHelpText(
      'after',
      `
For a DEK that a rotation left behind, or whose record is damaged. Versions that the DEK has got since stay. A DEK that was destroyed
does not come back.

Example:
  intaglio dek restore --key-id k1 --data-dir /var/lib/intaglio/dek --config dek.yaml`,
    )
    .action(async ({ keyId, from, ...flags }: { keyId: string; from?: string } & StoppedDeksFlags) => {
      if (from !== undefined && !/^[1-9][0-9]{0,9}$/.test(from))
        fail('--from is the number of a version of the KEK');
      // A name that was mistyped would be made, with all that a new service has.
      if (!existsSync(join(flags.dataDir, 'store'))) fail(`there is no store in ${flags.dataDir}`);
      return refusing(async () => {
        const { withStoppedDeks } = await import('./stopped-deks.ts');
        const restored = await withStoppedDeks(flags, (ask, { dek_restore: operation }) =>
          ask(operation, { id: keyId, from: from === undefined ? undefined : Number(from) }),
        );
        if (!restored.ok) fail(`${keyId}: ${restored.failure.hint ?? restored.failure.code}`);
        const { version, kekVersion } = restored.value;
        process.stdout.write(
          `${keyId} is back, up to its version ${version}, under version ${kekVersion} of the KEK\n`,
        );
      });
    });
}
