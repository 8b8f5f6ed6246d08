import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { registry } from '../algorithms/registry.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { readRegularFile } from '../core/private-file.ts';
import type { SecretRule } from '../core/secret-file.ts';
import { fail } from './fail.ts';

/** The settings of this process: the given flags, its environment and credentials, and the files that these name. */
export function processSettings(argv: readonly string[]): LoadedConfig {
  return loadConfig({
    argv,
    env: process.env,
    readFile: (path) => readRegularFile(path).toString(),
    listDirectory: namesIn,
    cores: availableParallelism(),
    algorithmNames: registry.flatMap(({ name, aliases }) => [name, ...aliases]),
  });
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** As above; ends the command where a setting is wrong. */
export function settingsOrFail(argv: readonly string[]): Extract<LoadedConfig, { ok: true }> {
  const loaded = processSettings(argv);
  if (!loaded.ok) return fail(...loaded.problems);
  for (const warning of loaded.warnings) process.stderr.write(`intaglio: ${warning}\n`);
  return loaded;
}

/** For a command that reads keys: ends it where a setting is wrong, before one is in memory. */
export function failOnWrongSettings(argv: readonly string[]): void {
  const loaded = processSettings(argv);
  if (!loaded.ok) fail(...loaded.problems);
}

/** Of the environment, for commands that have no settings of their own; wrong ones allow nothing. */
export function secretRule(): SecretRule {
  const loaded = processSettings([]);
  return { groupAllowed: loaded.ok && loaded.config.groupReadableSecrets };
}
