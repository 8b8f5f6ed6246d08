import { readFileSync } from 'node:fs';

/** Parsed docs/vectors/<file>. */
export function readPublished<T>(file: string): T {
  return JSON.parse(readFileSync(new URL(`../../docs/vectors/${file}`, import.meta.url), 'utf8')) as T;
}
