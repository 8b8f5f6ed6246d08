import { type Config, type DefaultFacts, type FieldName, fieldNames, fields } from './fields.ts';
import { findListenContradictions } from './listen-rules.ts';
import { findPqContradictions } from './pq-rules.ts';
import { profiles } from './profiles.ts';
import { renamed } from './renamed.ts';
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
    findContradictions(config, origins as Record<FieldName, Origin>, sources.algorithmNames, problems);
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

/** Limits are checked against each other here, so that a contradiction stops a start and not a night. */
function findContradictions(
  config: Config,
  origins: Readonly<Record<FieldName, Origin>>,
  algorithmNames: readonly string[],
  problems: string[],
): void {
  const refused = profiles[config.profile]?.refused;
  if (refused !== undefined) problems.push(`KMS_PROFILE=${config.profile} is not taken: ${refused}`);
  if (config.amnesia && config.backend !== 'memory') {
    problems.push('KMS_AMNESIA keeps nothing on disk, so KMS_BACKEND must be memory');
  }
  if (config.audit === 'off' && config.backend !== 'memory') {
    problems.push(
      'KMS_AUDIT=off is only for KMS_BACKEND=memory: keys that outlive the process have a log that does',
    );
  }
  if (config.audit === 'on' && config.backend === 'memory') {
    problems.push('KMS_AUDIT=on needs a store that keeps the anchor: not KMS_BACKEND=memory');
  }
  if (config.auditDurability === 'witnessed' && config.auditWitnessPolicy === 'none') {
    problems.push('KMS_AUDIT_DURABILITY=witnessed needs witnesses: KMS_AUDIT_WITNESS_POLICY');
  }
  if (config.amnesia && origins.rootKeyFile !== 'default') {
    problems.push('KMS_AMNESIA makes its own root key in memory, so KMS_ROOT_KEY_FILE must not be set');
  }
  if (config.rootKeyFd !== 0) {
    if (config.rootKeyFd < 3)
      problems.push('KMS_ROOT_KEY_FD must be 3 or more: 1 and 2 are the output, and 0 is none');
    if (config.amnesia)
      problems.push('KMS_AMNESIA makes its own root key in memory, so KMS_ROOT_KEY_FD must not be set');
    if (origins.rootKeyFile !== 'default')
      problems.push('KMS_ROOT_KEY_FD and KMS_ROOT_KEY_FILE are two places of one key: set one of them');
  }
  findListenContradictions(config, (name) => origins[name] !== 'default', problems);
  findPqContradictions(config, problems);
  if (config.queuePerTenant > config.queueTotal) {
    problems.push('KMS_QUEUE_PER_TENANT must not be more than KMS_QUEUE_TOTAL');
  }
  if (config.batchMaxItems > config.queuePerTenant) {
    problems.push(
      'KMS_BATCH_MAX_ITEMS must not be more than KMS_QUEUE_PER_TENANT: a full batch could never be taken',
    );
  }
  if (config.defaultDeadlineMs > config.signDeadlineMs) {
    problems.push('KMS_DEFAULT_DEADLINE_MS must not be more than KMS_SIGN_DEADLINE_MS');
  }
  if (config.signDeadlineMs > config.shutdownTimeoutMs) {
    problems.push(
      'KMS_SIGN_DEADLINE_MS must not be more than KMS_SHUTDOWN_TIMEOUT_MS: a stop would cut off calls within their deadline',
    );
  }
  if (config.allowedAlgs === 'all') return;
  for (const name of config.allowedAlgs) {
    if (!algorithmNames.includes(name)) {
      problems.push(`KMS_ALLOWED_ALGS has an unknown algorithm ${name}${didYouMean(name, algorithmNames)}`);
    }
  }
}

function freezeDeeply<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) freezeDeeply(inner);
    Object.freeze(value);
  }
  return value;
}
