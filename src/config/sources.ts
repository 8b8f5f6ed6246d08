import { type FieldName, fields, memberOf } from './fields.ts';
import { boolean } from './kinds.ts';
import { profiles } from './profiles.ts';
import { oldSpellings, type Renamed } from './renamed.ts';
import { maxFileCharacters, parseSettings } from './settings-file.ts';
import { byFlag, byMember, byVariable, didYouMean, plainVariable } from './spellings.ts';

/** The sources of settings, and the facts that they are checked against. All of it is handed in, so nothing global is read. */
export interface ConfigSources {
  /** Flags only, without the program and a command's name: `--bind 127.0.0.1:0 --amnesia`. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads the file that `--config` or `KMS_CONFIG` names, or one that holds a single value; throws when it cannot. */
  readonly readFile: (path: string) => string;
  /** Names in the directory of systemd's credentials; none where it is missing. Without this function there are none. */
  readonly listDirectory?: (path: string) => readonly string[];
  /** Processors that this process may use (`os.availableParallelism()`). */
  readonly cores: number;
  /** Every name and alias that KMS_ALLOWED_ALGS may hold. */
  readonly algorithmNames: readonly string[];
  /** Old names that are still taken; those of this version unless given. */
  readonly renamed?: readonly Renamed[];
}

/** From the strongest to the weakest. */
export type Origin = 'flag' | 'environment' | 'credential' | 'file' | 'profile' | 'default';

/** A setting as one source gives it. */
export interface Given {
  readonly origin: Origin;
  /** The operator's spelling of the setting: `--bind`, `KMS_BIND`, `bind in the file`. */
  readonly as: string;
  readonly value: unknown;
}

export type Layer = Map<FieldName, Given>;

/** The settings of one kind of source, and the file that it names. */
export interface Read {
  readonly layer: Layer;
  readonly file: Given | undefined;
}

/** Takes what is wrong, and what should be known though it stops nothing. */
export interface Notes {
  readonly problems: string[];
  readonly warnings: string[];
  readonly renamed: readonly Renamed[];
}

/** The new name of an old spelling, with a warning. */
function renamedField(
  notes: Notes,
  kind: keyof ReturnType<typeof oldSpellings>,
  spelling: string,
): FieldName | undefined {
  const found = notes.renamed.find((entry) => oldSpellings(entry)[kind] === spelling);
  if (found === undefined) return undefined;
  notes.warnings.push(
    `${spelling} is now called ${fields[found.name].variable}; the old name is taken until ${found.until} (config migrate rewrites files)`,
  );
  return found.name;
}

export function readFlags(argv: readonly string[], notes: Notes): Read {
  const { problems } = notes;
  const layer: Layer = new Map();
  let file: Given | undefined;
  for (let index = 0; index < argv.length; index++) {
    const [flag = '', ...rest] = (argv[index] ?? '').split('=');
    const name = byFlag.get(flag) ?? renamedField(notes, 'flag', flag);
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

/** `KMS_BIND_FILE` names a file that holds the value of `KMS_BIND`; undefined for other names. */
function fieldOfFile(plain: string): FieldName | undefined {
  return plain.endsWith('_FILE') ? byVariable.get(plain.slice(0, -'_FILE'.length)) : undefined;
}

/** For commands that ask a service, which may run beside one. */
const ofClients: ReadonlySet<string> = new Set(['KMS_URL', 'KMS_TOKEN_FILE']);

export function readVariables(
  env: ConfigSources['env'],
  readFile: ConfigSources['readFile'],
  notes: Notes,
): Read & { readonly injected: readonly string[] } {
  const { problems } = notes;
  const layer: Layer = new Map();
  const injected: string[] = [];
  let file: Given | undefined;
  const take = (name: FieldName | undefined, plain: string, given: Given) => {
    const known = name === undefined ? file : layer.get(name);
    if (known !== undefined && known.value !== given.value) {
      const both =
        plainVariable(known.as) === plain ? `${plain} and RON_${plain}` : `${known.as} and ${given.as}`;
      problems.push(`${both} are both set, and differ`);
    }
    if (name === undefined) file = given;
    else layer.set(name, given);
  };
  for (const [variable, value] of Object.entries(env)) {
    if (value === undefined || !/^(RON_)?KMS_/.test(variable) || ofClients.has(variable)) continue;
    const plain = plainVariable(variable);
    const given: Given = { origin: 'environment', as: variable, value };
    const name = byVariable.get(plain) ?? renamedField(notes, 'variable', plain);
    // A setting's own name wins: KMS_POLICY_FILE is one.
    const inFile = name === undefined ? fieldOfFile(plain) : undefined;
    if (name !== undefined || plain === 'KMS_CONFIG') take(name, plain, given);
    else if (isInjected(variable, value)) injected.push(variable);
    else if (inFile !== undefined) {
      const text = readValue(value, readFile);
      if (text === undefined) problems.push(`${variable} must name a readable file that holds the value`);
      else take(inFile, plain, { ...given, value: text });
    } else {
      problems.push(`unknown variable ${variable}${didYouMean(plain, [...byVariable.keys(), 'KMS_CONFIG'])}`);
    }
  }
  return { layer, file, injected };
}

/** A value in a file of its own: editors end it with a line feed. */
function readValue(path: string, readFile: ConfigSources['readFile']): string | undefined {
  try {
    const text = readFile(path).replace(/\r?\n$/, '');
    return text.length > maxFileCharacters ? undefined : text;
  } catch {
    return undefined;
  }
}

/** Credentials of systemd for settings begin so: `LoadCredential=kms.sign_rate_limit:/etc/intaglio/rate`. */
const credentialPrefix = 'kms.';

/** What systemd hands over in `$CREDENTIALS_DIRECTORY`, a file for each setting, named as a file's member is. */
export function readCredentials({ env, readFile, listDirectory }: ConfigSources, { problems }: Notes): Layer {
  const layer: Layer = new Map();
  const directory = env.CREDENTIALS_DIRECTORY;
  if (directory === undefined || listDirectory === undefined) return layer;
  for (const credential of listDirectory(directory)) {
    if (!credential.startsWith(credentialPrefix)) continue;
    const member = credential.slice(credentialPrefix.length);
    const name = byMember.get(member);
    if (name === undefined) {
      const known = [...byMember.keys()].map((one) => `${credentialPrefix}${one}`);
      problems.push(`unknown credential ${credential}${didYouMean(credential, known)}`);
      continue;
    }
    const value = readValue(`${directory}/${credential}`, readFile);
    const as = `the credential ${credential}`;
    if (value === undefined) problems.push(`${as} cannot be read`);
    else layer.set(name, { origin: 'credential', as, value });
  }
  return layer;
}

export function readSettingsFile(
  path: Given | undefined,
  readFile: ConfigSources['readFile'],
  notes: Notes,
): Layer {
  const layer: Layer = new Map();
  if (path === undefined) return layer;
  const parsed = settingsIn(path.value as string, readFile);
  if ('problem' in parsed) {
    notes.problems.push(`${path.as} ${parsed.problem}`);
    return layer;
  }
  for (const [member, value] of Object.entries(parsed.members)) {
    const name = byMember.get(member) ?? renamedField(notes, 'member', member);
    if (name === undefined) {
      notes.problems.push(
        `unknown member ${JSON.stringify(member)} in the file${didYouMean(member, byMember.keys())}`,
      );
    } else if (layer.has(name)) {
      notes.problems.push(`${memberOf(name)} is in the file twice, under its old name and its new one`);
    } else {
      layer.set(name, { origin: 'file', as: `${member} in the file`, value });
    }
  }
  return layer;
}

function settingsIn(path: string, readFile: ConfigSources['readFile']): ReturnType<typeof parseSettings> {
  try {
    return parseSettings(path, readFile(path));
  } catch {
    return { problem: 'must name a readable file that holds JSON, or YAML where its name ends with .yaml' };
  }
}

/** The settings of a profile, and what contradicts them. */
export function readProfile(profile: string, given: readonly Layer[], { problems }: Notes): Layer {
  const layer: Layer = new Map();
  for (const [member, text] of Object.entries(profiles[profile]?.settings ?? {})) {
    const name = byMember.get(member);
    if (name === undefined) throw new Error(`the profile ${profile} sets ${member}, which is no setting`);
    const value = fields[name].kind.parse(text);
    const other = given.map((one) => one.get(name)).find((entry) => entry !== undefined);
    const same = other === undefined || sameValue(name, other.value, value);
    if (!same) problems.push(`${other?.as} contradicts the profile ${profile}, which has ${member} ${text}`);
    layer.set(name, { origin: 'profile', as: `the profile ${profile}`, value: text });
  }
  return layer;
}

/** Values that cannot be read are told of elsewhere. */
function sameValue(name: FieldName, given: unknown, wanted: unknown): boolean {
  const value = fields[name].kind.parse(given);
  return value === undefined || JSON.stringify(value) === JSON.stringify(wanted);
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
