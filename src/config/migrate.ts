import { isScalar, parseDocument } from 'yaml';
import { memberOf } from './fields.ts';
import { oldSpellings, type Renamed } from './renamed.ts';
import { isYaml, parseSettings } from './settings-file.ts';

export type Migrated =
  | {
      readonly text: string;
      /** Members by their old and new names. */
      readonly renames: readonly (readonly [from: string, to: string])[];
    }
  | { readonly problem: string };

/** The same settings file with the names of this version. Comments and the order of a YAML file stay. */
export function migrateSettings(path: string, text: string, renamed: readonly Renamed[]): Migrated {
  const parsed = parseSettings(path, text);
  if ('problem' in parsed) return parsed;
  const names = new Map(renamed.map((entry) => [oldSpellings(entry).member, memberOf(entry.name)]));
  const renames: [string, string][] = [];
  for (const member of Object.keys(parsed.members)) {
    const to = names.get(member);
    if (to === undefined) continue;
    if (Object.hasOwn(parsed.members, to))
      return { problem: `has ${member} and ${to}, which are one setting` };
    renames.push([member, to]);
  }
  // Not written anew where nothing is to be done: not even white space changes.
  if (renames.length === 0) return { text, renames };
  return { text: isYaml(path) ? yamlWith(text, names) : jsonWith(parsed.members, names), renames };
}

function jsonWith(members: Readonly<Record<string, unknown>>, names: ReadonlyMap<string, string>): string {
  const entries = Object.entries(members).map(([member, value]) => [names.get(member) ?? member, value]);
  return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
}

function yamlWith(text: string, names: ReadonlyMap<string, string>): string {
  const document = parseDocument(text);
  const { contents } = document;
  if (contents !== null && 'items' in contents) {
    for (const item of contents.items) {
      const key = 'key' in item ? item.key : undefined;
      if (isScalar(key)) key.value = names.get(String(key.value)) ?? key.value;
    }
  }
  return document.toString({ lineWidth: 0 });
}
