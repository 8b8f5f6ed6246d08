import {
  type Config,
  type DefaultFacts,
  type FieldName,
  fieldNames,
  fields,
  flagOf,
  memberOf,
} from './fields.ts';
import { boolean } from './kinds.ts';
import { findListenContradictions } from './listen-rules.ts';
import { nearest } from './nearest.ts';

export type { Config } from './fields.ts';

/** The sources of settings, and the facts that they are checked against. All of it is handed in, so nothing global is read. */
export interface ConfigSources {
  /** Flags only, without the program and a command's name: `--bind 127.0.0.1:0 --amnesia`. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads the file that `--config` or `KMS_CONFIG` names; throws when it cannot. */
  readonly readFile: (path: string) => string;
  /** Processors that this process may use (`os.availableParallelism()`). */
  readonly cores: number;
  /** Every name and alias that KMS_ALLOWED_ALGS may hold. */
  readonly algorithmNames: readonly string[];
}

/** From the strongest to the weakest. */
export type Origin = 'flag' | 'environment' | 'file' | 'default';

export type LoadedConfig =
  | {
      readonly ok: true;
      readonly config: Config;
      readonly origins: Readonly<Record<FieldName, Origin>>;
      /** Variables that are no settings, because Kubernetes sets them for a Service of this name. */
      readonly injected: readonly string[];
    }
  /** Everything that is wrong, one line each, for the operator. Lines name settings and ranges, never values. */
  | { readonly ok: false; readonly problems: readonly string[] };

interface Given {
  readonly origin: Origin;
  /** The operator's spelling of the setting: `--bind`, `KMS_BIND`, `bind in the file`. */
  readonly as: string;
  readonly value: unknown;
}

type Layer = Map<FieldName, Given>;

/** Flags over environment over file over default. Anything unknown, out of range or contradictory refuses the start. */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const problems: string[] = [];
  const flags = readFlags(sources.argv, problems);
  const variables = readVariables(sources.env, problems);
  const file = readSettingsFile(flags.file ?? variables.file, sources.readFile, problems);
  const layers = [flags.layer, variables.layer, file];

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
    const given = layers.map((layer) => layer.get(name)).find((entry) => entry !== undefined);
    let value: unknown;
    if (given !== undefined) {
      value = fields[name].kind.parse(given.value);
      if (value === undefined) problems.push(`${given.as} must be ${fields[name].kind.accepts}`);
    }
    origins[name] = given?.origin ?? 'default';
    settled[name] = value ?? fields[name].standard(facts);
    return settled[name];
  };
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
  return { ok: true, config: freezeDeeply(config), origins: origins as Record<FieldName, Origin>, injected };
}

const byFlag = new Map(fieldNames.map((name) => [flagOf(name), name]));
const byMember = new Map(fieldNames.map((name) => [memberOf(name), name]));
const byVariable = new Map(fieldNames.map((name) => [fields[name].variable as string, name]));

function readFlags(argv: readonly string[], problems: string[]): { layer: Layer; file: Given | undefined } {
  const layer: Layer = new Map();
  let file: Given | undefined;
  for (let index = 0; index < argv.length; index++) {
    const [flag = '', ...rest] = (argv[index] ?? '').split('=');
    const name = byFlag.get(flag);
    let value: string | undefined = rest.length > 0 ? rest.join('=') : undefined;
    if (value === undefined && argv[index + 1]?.startsWith('--') === false) value = argv[++index];
    if (name === undefined && flag !== '--config') {
      // An argument that is no flag may be a value, and values are not repeated.
      const what = flag.startsWith('--') ? `unknown flag ${flag}` : 'an argument that is no flag';
      problems.push(`${what}${didYouMean(flag, [...byFlag.keys(), '--config'])}`);
      continue;
    }
    // `--amnesia` alone says yes.
    const given: Given = { origin: 'flag', as: flag, value: value ?? 'true' };
    const known = name === undefined ? file : layer.get(name);
    if (known !== undefined) problems.push(`${flag} is given twice`);
    if (value === undefined && (name === undefined || fields[name].kind !== boolean)) {
      problems.push(`${flag} needs a value`);
    } else if (name === undefined) file = given;
    else layer.set(name, given);
  }
  return { layer, file };
}

function readVariables(
  env: ConfigSources['env'],
  problems: string[],
): { layer: Layer; file: Given | undefined; injected: readonly string[] } {
  const layer: Layer = new Map();
  const injected: string[] = [];
  let file: Given | undefined;
  for (const [variable, value] of Object.entries(env)) {
    if (value === undefined || !/^(RON_)?KMS_/.test(variable)) continue;
    const plain = variable.startsWith('RON_') ? variable.slice(4) : variable;
    const name = byVariable.get(plain);
    if (name === undefined && isInjected(variable, value)) {
      injected.push(variable);
      continue;
    }
    if (name === undefined && plain !== 'KMS_CONFIG') {
      problems.push(`unknown variable ${variable}${didYouMean(plain, [...byVariable.keys(), 'KMS_CONFIG'])}`);
      continue;
    }
    const known = name === undefined ? file : layer.get(name);
    if (known !== undefined && known.value !== value) {
      problems.push(`${plain} and RON_${plain} are both set, and differ`);
    }
    const given: Given = { origin: 'environment', as: variable, value };
    if (name === undefined) file = given;
    else layer.set(name, given);
  }
  return { layer, file, injected };
}

/**
 * The variables that Kubernetes sets in each container for a Service called `kms` or `kms-…`, in the forms of Docker's links,
 * by the end of their names.
 */
const injectedForms: readonly (readonly [name: RegExp, value: RegExp])[] = [
  [/_SERVICE_HOST$/, /^[0-9a-fA-F.:]{2,45}$/],
  [/_SERVICE_PORT(_[A-Z0-9_]+)?$/, /^\d{1,5}$/],
  [/_PORT(_\d{1,5}_(TCP|UDP|SCTP))?$/, /^(tcp|udp|sctp):\/\/[0-9a-fA-F.:[\]]{2,47}:\d{1,5}$/],
  [/_PORT_\d{1,5}_(TCP|UDP|SCTP)_PROTO$/, /^(tcp|udp|sctp)$/],
  [/_PORT_\d{1,5}_(TCP|UDP|SCTP)_PORT$/, /^\d{1,5}$/],
  [/_PORT_\d{1,5}_(TCP|UDP|SCTP)_ADDR$/, /^[0-9a-fA-F.:]{2,45}$/],
];

/** True if Kubernetes and not the operator set it: name and value have exactly such a form. */
function isInjected(variable: string, value: string): boolean {
  return injectedForms.some(([name, form]) => name.test(variable) && form.test(value));
}

// A file of settings is a few hundred bytes; more than this is some other file.
const maxFileCharacters = 65_536;

function readSettingsFile(
  path: Given | undefined,
  readFile: ConfigSources['readFile'],
  problems: string[],
): Layer {
  const layer: Layer = new Map();
  if (path === undefined) return layer;
  let members: unknown;
  try {
    const text = readFile(path.value as string);
    members = text.length > maxFileCharacters ? undefined : JSON.parse(text);
  } catch {
    problems.push(`${path.as} must name a readable file that holds JSON`);
    return layer;
  }
  if (typeof members !== 'object' || members === null || Array.isArray(members)) {
    problems.push(
      `${path.as} must name a file that holds one JSON object of at most ${maxFileCharacters} bytes`,
    );
    return layer;
  }
  for (const [member, value] of Object.entries(members)) {
    const name = byMember.get(member);
    if (name === undefined) {
      problems.push(
        `unknown member ${JSON.stringify(member)} in the file${didYouMean(member, byMember.keys())}`,
      );
    } else {
      layer.set(name, { origin: 'file', as: `${member} in the file`, value });
    }
  }
  return layer;
}

/** Limits are checked against each other here, so that a contradiction stops a start and not a night. */
function findContradictions(
  config: Config,
  origins: Readonly<Record<FieldName, Origin>>,
  algorithmNames: readonly string[],
  problems: string[],
): void {
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

function didYouMean(name: string, known: Iterable<string>): string {
  const near = nearest(name, known);
  return near === undefined ? '' : `; did you mean ${near}?`;
}

function freezeDeeply<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) freezeDeeply(inner);
    Object.freeze(value);
  }
  return value;
}
