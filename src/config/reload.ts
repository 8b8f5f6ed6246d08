import { createHash } from 'node:crypto';
import { type Config, type FieldName, fieldNames, fields, memberOf } from './fields.ts';
import type { Kind } from './kinds.ts';
import { freezeDeeply, type LoadedConfig } from './load.ts';
import { contradictionsIn } from './rules.ts';

/** The settings in force. A reload replaces them, in one turn of the event loop with all that depends on them. */
export interface LiveConfig {
  readonly now: Config;
}

/** A part of the service that a reload changes. */
export interface Reloadable {
  /** Reads and makes what these settings need, and changes nothing. Must not throw. */
  prepare(config: Config): Prepared;
}

export type Prepared =
  | {
      /** Puts it in force. Called in the turn of `prepare` or never; must not throw. */
      readonly commit: () => void;
      /** The contents that differ from those of before, such as a file's digest; no secrets. */
      readonly contents?: Readonly<Record<string, string>>;
    }
  /** One line each, for the operator. */
  | { readonly problems: readonly string[] };

/** Several parts as one, committed in this order. */
export function prepareAll(parts: readonly Reloadable[], config: Config): Prepared {
  const prepared = parts.map((part) => part.prepare(config));
  const problems = prepared.flatMap((one) => ('problems' in one ? one.problems : []));
  if (problems.length > 0) return { problems };
  const ready = prepared as readonly Extract<Prepared, { commit: unknown }>[];
  return {
    commit() {
      for (const { commit } of ready) commit();
    },
    contents: Object.assign({}, ...ready.map(({ contents }) => contents)),
  };
}

/** One setting that differs, as the file's member is called, and its values in a form that may be shown. */
export interface Difference {
  readonly member: string;
  readonly before: string;
  readonly after: string;
}

export type Reloaded =
  | {
      readonly ok: true;
      readonly config: Config;
      /** Of the settings that a reload changes. */
      readonly changed: readonly Difference[];
      /** Variables whose change waits for the next start; the values of before hold. */
      readonly needRestart: readonly string[];
    }
  /** One line each, for the operator; no line has a value in it. */
  | { readonly ok: false; readonly problems: readonly string[] };

/** The settings that come to hold when these were read again. Nothing is changed by it. */
export function reloadedConfig(
  before: Config,
  loaded: LoadedConfig,
  algorithmNames: readonly string[],
): Reloaded {
  if (!loaded.ok) return loaded;
  const differing = fieldNames.filter((name) => textOf(name, before) !== textOf(name, loaded.config));
  const reloading = differing.filter((name) => fields[name].change === 'reload');
  const config = Object.fromEntries([
    ...Object.entries(before),
    ...reloading.map((name) => [name, loaded.config[name]]),
  ]) as Config;
  // Each whole fitted together, and a part of one with a part of the other need not. Settings whose presence alone contradicts
  // another take a restart, so that none is given anew here.
  const problems = contradictionsIn(config, () => false, algorithmNames);
  if (problems.length > 0) {
    return { ok: false, problems: problems.map((problem) => `${problem} (as long as nothing is restarted)`) };
  }
  return {
    ok: true,
    config: freezeDeeply(config),
    changed: reloading.map((name) => ({
      member: memberOf(name),
      before: shown(textOf(name, before)),
      after: shown(textOf(name, loaded.config)),
    })),
    needRestart: differing
      .filter((name) => fields[name].change === 'restart')
      .map((name) => fields[name].variable),
  };
}

/** A field's `format` takes exactly what its `parse` gives, which no type can say once the names are in a loop. */
function textOf(name: FieldName, config: Config): string {
  return (fields[name].kind as Kind<unknown>).format(config[name]);
}

/** Both values of every setting that a reload changes fit into one record of the audit log (4 KiB). */
const maxShownCharacters = 40;

/** No setting holds a secret, only the places of some. Lists of tenants are long: those are told apart by their digest. */
function shown(text: string): string {
  if (text.length <= maxShownCharacters) return text;
  return `sha256:${createHash('sha256').update(text).digest('hex').slice(0, 32)}`;
}
