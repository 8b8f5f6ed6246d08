import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NoteKey, parseVkey } from '../../../src/audit/format/note.ts';

export function vectorFile(name: string): Uint8Array {
  return readFileSync(join(import.meta.dirname, '..', 'vectors', name));
}

interface InclusionVector {
  readonly index: number;
  readonly size: number;
  readonly proof: readonly string[];
}

interface TileVector {
  readonly path: string;
  readonly len: number;
  readonly sha256: string;
}

interface Vectors {
  readonly decimal_bundles_70000: readonly TileVector[];
  readonly decimal_tiles_70000: readonly TileVector[];
  readonly decimal_consistency: Readonly<Record<string, readonly string[]>>;
  readonly decimal_inclusion: readonly InclusionVector[];
  readonly decimal_roots: Readonly<Record<string, string>>;
  readonly paths: Readonly<Record<string, string>>;
  readonly tessera_words_roots: Readonly<Record<string, string>>;
  readonly tessera_words_inclusion: readonly InclusionVector[];
  readonly tessera_words_consistency: readonly {
    readonly old: number;
    readonly new: number;
    readonly proof: readonly string[];
  }[];
}

export const vectors: Vectors = JSON.parse(Buffer.from(vectorFile('vectors.json')).toString());

export const testOrigin = 'kms.example/audit/1';

export function keyOf(vkey: string): NoteKey {
  const key = parseVkey(vkey);
  if (!key.ok) throw new Error(key.failure.hint);
  return key.value;
}

/** Ed25519 and ML-DSA-44 of the test log, then the witness. */
export const testKeys = Buffer.from(vectorFile('vkeys.txt')).toString().trim().split('\n').map(keyOf) as [
  NoteKey,
  NoteKey,
  NoteKey,
];

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
