import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { migrateSettings } from '../../config/migrate.ts';
import { renamed } from '../../config/renamed.ts';
import { ownCommand } from '../../core/own-package.ts';
import { errorCode } from '../../core/private-file.ts';
import { fail } from '../fail.ts';

export function migrateCommand(): Command {
  return new Command('migrate')
    .description('write a settings file with the names that settings have in this version')
    .argument('<file>', 'JSON, or YAML where its name ends with .yaml')
    .option('--write', 'in its place, instead of to standard output')
    .addHelpText(
      'after',
      `\nA setting that was renamed keeps its old name for a minor version, with a warning.\n\nExample:\n  ${ownCommand} config migrate settings.yaml --write`,
    )
    .action(migrate);
}

function migrate(path: string, { write }: { write?: boolean }): void {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    fail(`cannot read ${path}: ${errorCode(error)}`);
  }
  const migrated = migrateSettings(path, text, renamed);
  if ('problem' in migrated) fail(`${path} ${migrated.problem}`);
  for (const [from, to] of migrated.renames) process.stderr.write(`intaglio: ${from} is now ${to}\n`);
  if (migrated.renames.length === 0) process.stderr.write('intaglio: nothing is to be renamed\n');
  if (write !== true) process.stdout.write(migrated.text);
  else if (migrated.renames.length > 0) replace(path, migrated.text);
}

/** Whoever reads it meanwhile finds one of the two whole. */
function replace(path: string, text: string): void {
  const draft = `${path}.new`;
  writeFileSync(draft, text, { mode: statSync(path).mode & 0o777 });
  renameSync(draft, path);
}
