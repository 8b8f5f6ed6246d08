import { parseDocument } from 'yaml';

// A file of settings is a few hundred bytes; more than this is some other file.
export const maxFileCharacters = 65_536;

/** True if a file of this name holds YAML; all others hold JSON. */
export function isYaml(path: string): boolean {
  return /\.ya?ml$/i.test(path);
}

/**
 * The members of a settings file. YAML is 1.2 with its core schema, one document, without tags of others and without aliases: they make
 * the same text mean different things to different readers. Gives what is wrong in words without any of the file's text.
 */
export function parseSettings(
  path: string,
  text: string,
): { readonly members: Readonly<Record<string, unknown>> } | { readonly problem: string } {
  const form = isYaml(path) ? 'YAML' : 'JSON';
  const whole = `must name a file that holds one ${form === 'JSON' ? 'JSON object' : 'YAML mapping'} of at most ${maxFileCharacters} bytes`;
  if (text.length > maxFileCharacters) return { problem: whole };
  let members: unknown;
  try {
    members = isYaml(path) ? parseYaml(text) : JSON.parse(text);
  } catch {
    return { problem: `must name a readable file that holds ${form}` };
  }
  if (typeof members !== 'object' || members === null || Array.isArray(members)) return { problem: whole };
  return { members: members as Record<string, unknown> };
}

function parseYaml(text: string): unknown {
  const document = parseDocument(text, {
    ...{ version: '1.2', schema: 'core', merge: false, resolveKnownTags: false },
    ...{ strict: true, uniqueKeys: true, stringKeys: true, prettyErrors: false, logLevel: 'error' },
  });
  if (document.errors.length > 0 || document.warnings.length > 0) throw new Error('not plain YAML');
  // No alias at all.
  return document.toJS({ maxAliasCount: 0 });
}
