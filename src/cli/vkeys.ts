import { readFileSync } from 'node:fs';
import { type NoteKey, parseVkey } from '../audit/note.ts';
import { fail } from './fail.ts';

/** The verifier keys in a file, one a line, all of one name; lines that begin with # are passed over. At least one. */
export function readVkeys(file: string): readonly NoteKey[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    fail(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
  const keys: NoteKey[] = [];
  for (const [at, line] of text.split('\n').entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const key = parseVkey(line.trim());
    if (!key.ok) fail(`${file}, line ${at + 1}: ${key.failure.hint}`);
    keys.push(key.value);
  }
  if (keys.length === 0) fail(`${file} has no verifier key`);
  if (keys.some(({ name }) => name !== keys[0]!.name))
    fail(`${file} has keys of several logs; give a file for each`);
  return keys;
}
