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
    /** Only in the files about them; of a mu there may be no message. */
    readonly ctx?: string;
    readonly mu?: string;
    readonly sig: string;
    readonly result: 'valid' | 'invalid' | 'acceptable';
  }[];
}

/** Parsed `data/<name>.json`. */
export function loadVectors<T = VectorFile>(name: string): T {
  return JSON.parse(readFileSync(new URL(`./data/${name}.json`, import.meta.url), 'utf8')) as T;
}
