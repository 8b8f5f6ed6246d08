import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ownRoot } from '../core/own-package.ts';

const commitForm = /^[0-9a-f]{40}([0-9a-f]{24})?$/;

/** Digits of a hash that tell commits apart, and that a person can compare. */
const shownDigits = 12;

/**
 * The version with the commit as build metadata of Semantic Versioning: `0.1.0+git.42a17e4c0ffe`. Packages and images have a
 * file `build.json` that names it; a checkout has git's files. The plain version where neither is there.
 */
export function buildVersion(version: string, root = fileURLToPath(ownRoot)): string {
  const commit = writtenCommit(root) ?? checkedOutCommit(root);
  return commit === undefined ? version : `${version}+git.${commit.slice(0, shownDigits)}`;
}

function writtenCommit(root: string): string | undefined {
  const text = /"commit":"([0-9a-f]+)"/.exec(textOf(join(root, 'build.json')) ?? '')?.[1];
  return text !== undefined && commitForm.test(text) ? text : undefined;
}

/** Read from git's files: a start must not need git, and takes no time for it. Undefined where this is no checkout. */
export function checkedOutCommit(root: string): string | undefined {
  // In a work tree of its own, .git is a file that names the directory, which knows the common one.
  const pointer = /^gitdir: (.+)$/.exec(textOf(join(root, '.git')) ?? '')?.[1];
  const directory = resolve(root, pointer ?? '.git');
  const common = resolve(directory, textOf(join(directory, 'commondir')) ?? '.');
  const head = textOf(join(directory, 'HEAD')) ?? '';
  const branch = /^ref: (refs\/\S+)$/.exec(head)?.[1];
  const found = branch === undefined ? head : (textOf(join(common, branch)) ?? packedCommit(common, branch));
  return found !== undefined && commitForm.test(found) ? found : undefined;
}

function packedCommit(common: string, branch: string): string | undefined {
  const lines = textOf(join(common, 'packed-refs'))?.split('\n') ?? [];
  return lines.find((line) => line.endsWith(` ${branch}`))?.split(' ')[0];
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
