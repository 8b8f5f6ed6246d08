import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { registry } from '../algorithms/registry.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import type { SecretRule } from '../core/secret-file.ts';
import { fail } from './fail.ts';

/** The settings of this process: the given flags, its environment, and the file that these name. */
export function processSettings(argv: readonly string[]): LoadedConfig {
  return loadConfig({
    argv,
    env: process.env,
    readFile: (path) => readFileSync(path, 'utf8'),
    cores: availableParallelism(),
    algorithmNames: registry.flatMap(({ name, aliases }) => [name, ...aliases]),
  });
}

/** As above; ends the command where a setting is wrong. */
export function settingsOrFail(argv: readonly string[]): Extract<LoadedConfig, { ok: true }> {
  const loaded = processSettings(argv);
  return loaded.ok ? loaded : fail(...loaded.problems);
}

/** Of the environment, for commands that have no settings of their own; wrong ones allow nothing. */
export function secretRule(): SecretRule {
  const loaded = processSettings([]);
  return { groupAllowed: loaded.ok && loaded.config.groupReadableSecrets };
}
