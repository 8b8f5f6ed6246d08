import { algorithmNames } from '../algorithms/registry.ts';
import type { Config, LoadedConfig } from '../config/load.ts';
import {
  type Difference,
  type LiveConfig,
  type Prepared,
  prepareAll,
  type Reloadable,
  reloadedConfig,
} from '../config/reload.ts';
import type { Health } from '../observe/health.ts';
import type { Logger } from '../observe/log.ts';

/** A reload that was taken, for the log and the audit log. */
export interface TakenReload {
  readonly changed: readonly Difference[];
  readonly contents: Readonly<Record<string, string>>;
  /** Variables. */
  readonly needRestart: readonly string[];
}

export interface ReloadParts {
  readonly settings: LiveConfig;
  readonly log: Logger;
  readonly health: Health;
  /** The parts that settings change, in the order in which they are to. */
  readonly parts: readonly Reloadable[];
  readonly record: (taken: TakenReload) => void;
}

/**
 * Takes settings that were read again: all that a reload can change, together and in this turn of the event loop, or nothing at
 * all. Two signals are two turns, and the last one counts. Never throws; the log says what came of it.
 */
export type SettingsReload = (loaded: LoadedConfig) => void;

export function createReload({ settings, log, health, parts, record }: ReloadParts): SettingsReload {
  let valid = true;
  health.condition('config', 'required', () => valid);
  const refuse = (problems: readonly string[]) => {
    valid = false;
    log.error({ problems }, 'the reload is NOT TAKEN, the settings of before stay in force');
  };
  return (loaded) => {
    const next = reloadedConfig(settings.now, loaded, algorithmNames);
    if (!next.ok) return refuse(next.problems);
    const prepared = preparedOrProblem(parts, next.config, log);
    if ('problems' in prepared) return refuse(prepared.problems);
    prepared.commit();
    valid = true;
    for (const warning of warningsOf(loaded)) log.warn({ warning }, 'a setting has an old name');
    const { changed, needRestart } = next;
    const { contents = {} } = prepared;
    for (const variable of needRestart) {
      log.warn(
        { setting: variable },
        'a changed setting takes a restart: its value of before stays in force',
      );
    }
    log.info(
      { changed, contents, need_restart: needRestart },
      'the settings were read again and are in force',
    );
    record({ changed, contents, needRestart });
  };
}

function warningsOf(loaded: LoadedConfig): readonly string[] {
  return loaded.ok ? loaded.warnings : [];
}

/** A bug in one part must not end a service that serves. */
function preparedOrProblem(parts: readonly Reloadable[], config: Config, log: Logger): Prepared {
  try {
    return prepareAll(parts, config);
  } catch (cause) {
    log.error({ err: cause }, 'a reload could not be prepared: a bug');
    return { problems: ['it could not be prepared'] };
  }
}
