import { readFileSync } from 'node:fs';
import { type NoteKey, parseVkey, signatureTypes } from '../audit/format/note.ts';
import { fail } from './fail.ts';

/**
 * The verifier keys in a file, all of one name, at least one: one a line, where lines that begin with # are passed over, or
 * the JSON of GET /v1/kms/audit/vkeys. Of that also the keys that are being replaced, which sign until the overlap ends.
 */
export function readVkeys(file: string): readonly NoteKey[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    fail(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
  const keys: NoteKey[] = [];
  for (const { vkey, where } of text.trimStart().startsWith('{') ? inJson(file, text) : inLines(text)) {
    const key = parseVkey(vkey);
    if (!key.ok) fail(`${file}, ${where}: ${key.failure.hint}`);
    if (!keys.some((known) => known.vkey === key.value.vkey)) keys.push(key.value);
  }
  if (keys.length === 0) fail(`${file} has no verifier key`);
  if (keys.some(({ name }) => name !== keys[0]!.name))
    fail(`${file} has keys of several logs; give a file for each`);
  return keys;
}

interface Written {
  readonly vkey: string;
  /** For messages: its line or its place. */
  readonly where: string;
}

function inLines(text: string): Written[] {
  return text
    .split('\n')
    .map((line, at) => ({ vkey: line.trim(), where: `line ${at + 1}` }))
    .filter(({ vkey }) => vkey !== '' && !vkey.startsWith('#'));
}

function inJson(file: string, text: string): Written[] {
  let body: { vkeys?: unknown; replaced?: { vkeys?: unknown } };
  try {
    body = JSON.parse(text);
  } catch {
    fail(`${file} begins like JSON and is none`);
  }
  const listed = [body.vkeys, body.replaced?.vkeys ?? []].flat();
  return listed.map((vkey, at) =>
    typeof vkey === 'string'
      ? { vkey, where: `key ${at + 1}` }
      : fail(`${file} is not the JSON of GET /v1/kms/audit/vkeys: "vkeys" has to be a list of texts`),
  );
}

/**
 * Ends the command where `keys` has one type only: whoever forges that one type would pass. `allowed`: a warning is enough.
 */
export function demandBothTypes(keys: readonly NoteKey[], file: string, allowed: boolean): void {
  const ofMlDsa = (key: NoteKey) => key.type === signatureTypes.mlDsa44;
  if (keys.some(ofMlDsa) && !keys.every(ofMlDsa)) return;
  const what = `${file} has ${keys.some(ofMlDsa) ? 'ML-DSA-44' : 'Ed25519'} only, so the other signature is not checked`;
  if (!allowed) fail(`${what}; give the keys of both types, or --allow-single`);
  process.stderr.write(`intaglio: warning: ${what}\n`);
}
