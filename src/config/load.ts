import type { DefaultFacts } from './field.ts';
import { type Config, type FieldName, fieldNames, fields } from './fields.ts';
import { takeOtherNames } from './m33/other-names.ts';
import { renamed } from './renamed.ts';
import { contradictionsIn } from './rules.ts';
import {
  type ConfigSources,
  type Given,
  type Notes,
  type Origin,
  readCredentials,
  readFlags,
  readProfile,
  readSettingsFile,
  readVariables,
} from './sources.ts';
import { didYouMean } from './spellings.ts';

export type { Config } from './fields.ts';

export type { ConfigSources, Origin } from './sources.ts';

export type LoadedConfig =
  | {
      readonly ok: true;
      readonly config: Config;
      readonly origins: Readonly<Record<FieldName, Origin>>;
      /** Variables that are no settings, because Kubernetes sets them for a Service of this name. */
      readonly injected: readonly string[];
      /** One line each, for the operator: what is still taken and will not be. */
      readonly warnings: readonly string[];
    }
  /** Everything that is wrong, one line each, for the operator. Lines name settings and ranges, never values. */
  | { readonly ok: false; readonly problems: readonly string[] };

/**
 * Flags over environment over systemd's credentials over file over profile over default. Anything unknown, out of range or
 * contradictory refuses the start.
 */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const notes: Notes = { problems: [], warnings: [], renamed: sources.renamed ?? renamed };
  const { problems, warnings } = notes;
  const flags = readFlags(sources.argv, notes);
  const variables = readVariables(sources.env, sources.readFile, notes);
  const file = readSettingsFile(flags.file ?? variables.file, sources.readFile, notes);
  const layers = [flags.layer, variables.layer, readCredentials(sources, notes), file];

  const settled: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  const facts: { -readonly [Name in keyof DefaultFacts]: DefaultFacts[Name] } = {
    cores: sources.cores,
    dataDir: '',
    amnesia: false,
    backend: 'lmdb',
    bind: { host: '', port: 0 },
  };
  const settle = (name: FieldName): unknown => {
    const given: Given | undefined = layers
      .map((layer) => layer.get(name))
      .find((entry) => entry !== undefined);
    let value: unknown;
    if (given !== undefined) {
      value = fields[name].kind.parse(given.value);
      if (value === undefined) problems.push(refusal(name, given));
    }
    origins[name] = given?.origin ?? 'default';
    settled[name] = value ?? fields[name].standard(facts);
    return settled[name];
  };
  // Names as general as these are somebody else's where that surface is not served.
  if (settle('m33') === true) takeOtherNames(sources.env, variables.layer, notes);
  layers.push(readProfile(settle('profile') as string, layers, notes));
  // Other defaults depend on these.
  facts.dataDir = settle('dataDir') as string;
  facts.amnesia = settle('amnesia') as boolean;
  facts.backend = settle('backend') as DefaultFacts['backend'];
  facts.bind = settle('bind') as DefaultFacts['bind'];
  for (const name of fieldNames) if (!(name in settled)) settle(name);

  const config = settled as Config;
  // Contradictions between values that are wrong themselves would only repeat the first message.
  if (problems.length === 0) {
    const isGiven = (name: FieldName) => origins[name] !== 'default';
    problems.push(...contradictionsIn(config, isGiven, sources.algorithmNames));
  }
  if (problems.length > 0) return { ok: false, problems };
  const { injected } = variables;
  return {
    ok: true,
    config: freezeDeeply(config),
    origins: origins as Record<FieldName, Origin>,
    injected,
    warnings,
  };
}

/** A near name of a closed list is told; what was given is not. */
function refusal(name: FieldName, { as, value }: Given): string {
  const { kind } = fields[name];
  const near = kind.names === undefined || typeof value !== 'string' ? '' : didYouMean(value, kind.names);
  return `${as} must be ${kind.accepts}${near}`;
}

export function freezeDeeply<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) freezeDeeply(inner);
    Object.freeze(value);
  }
  return value;
}
