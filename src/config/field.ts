import type { Address, Kind } from './kinds.ts';

/** The facts that a default may depend on: the machine, and settings that are settled before all others. */
export interface DefaultFacts {
  /** Processors that this process may use. */
  readonly cores: number;
  readonly dataDir: string;
  readonly amnesia: boolean;
  readonly backend: 'lmdb' | 'memory';
  readonly bind: Address;
}

export interface Field<T> {
  /** The environment variable. `KMS_DATA_DIR` is also `RON_KMS_DATA_DIR`, the flag `--data-dir`, the file's `data_dir`. */
  readonly variable: `KMS_${string}`;
  readonly kind: Kind<T>;
  /** As documented; equal to `standard` unless that depends on the machine or on other settings. */
  readonly standardText: string;
  readonly standard: (facts: DefaultFacts) => T;
  /** The setting's effect, its unit where the name has none, and the reason for the default. One paragraph. */
  readonly meaning: string;
  /** When a change of it counts: at a reload (SIGHUP), or only when the process starts again. */
  readonly change: TakesEffect;
}

export type TakesEffect = 'reload' | 'restart';

/** A setting whose default is a value, or follows from facts and is said in words. */
export function field<T>(
  variable: Field<T>['variable'],
  kind: Kind<T>,
  standard: T | { text: string; from: (facts: DefaultFacts) => T },
  meaning: string,
  change: TakesEffect = 'restart',
): Field<T> {
  if (typeof standard === 'object' && standard !== null && 'from' in standard) {
    return { variable, kind, standardText: standard.text, standard: standard.from, meaning, change };
  }
  return {
    ...{ variable, kind, meaning, change },
    standardText: kind.format(standard),
    standard: () => standard,
  };
}
