import { readFileSync } from 'node:fs';

/** The members of a Wycheproof file that are kept here; bytes are lower-case hex. */
export interface VectorFile {
  readonly testGroups: readonly VectorGroup[];
}

export interface VectorGroup {
  readonly publicKey: string;
  /** In the signing files only. */
  readonly privateSeed?: string;
  readonly tests: readonly {
    readonly tcId: number;
    readonly comment: string;
    readonly msg: string;
    readonly sig: string;
    readonly result: 'valid' | 'invalid' | 'acceptable';
  }[];
}

/** Parsed `data/<name>.json`. */
export function loadVectors<T = VectorFile>(name: string): T {
  return JSON.parse(readFileSync(new URL(`./data/${name}.json`, import.meta.url), 'utf8')) as T;
}
