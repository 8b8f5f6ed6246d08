/**
 * Has commands refuse what is wrong, reports, and waits until its input ends. Secrets come by files alone. Arguments: a JSON list of
 * the name of an act and what it takes, and a file whose bytes stay in memory, so that a search of it is not blind.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readDekConfig, secretKeyIn } from '../../src/cli/dek/config-file.ts';
import { type ImportFlags, importDeks } from '../../src/cli/dek/import-deks.ts';
import { type ResealFlags, reseal } from '../../src/cli/dek/reseal.ts';
import { joinedSecret } from '../../src/cli/root/join.ts';
import { StartError } from '../../src/core/start-error.ts';

const rule = { groupAllowed: false };
const acts = {
  config: async (path: string) => readDekConfig(path, rule),
  keyFile: async (path: string) => secretKeyIn(path, rule),
  import: (flags: ImportFlags) => importDeks(flags, () => {}),
  reseal: (flags: ResealFlags) => reseal(flags, () => {}),
  join: (shares: readonly string[]) =>
    joinedSecret(
      { identities: [], shares, source: undefined },
      { dataDir: '.', rule, credentials: undefined },
    ),
};

const [list = '[]', control = ''] = process.argv.slice(2);
const kept = readFileSync(control);
for (const [name, given] of JSON.parse(list) as [keyof typeof acts, never][])
  await assert.rejects(async () => acts[name](given), StartError, name);
process.stdin.once('end', () => process.exit(kept.length === 0 ? 1 : 0)).resume();
process.stdout.write('refused\n');
