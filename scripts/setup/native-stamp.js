/** The sources that the native engine was built from, and whether a build is due. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Folders and files under native/ that do not go into the library. */
const notSources = new Set([
  'target',
  'build',
  'tests',
  'benches',
  'README.md',
  '.gitignore',
  'rustfmt.toml',
  'clippy.toml',
]);

/**
 * @param {string} folder @param {string} prefix
 * @returns {string[]} paths below the folder with `/`, sorted
 */
function listFiles(folder, prefix = '') {
  const files = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (prefix === '' && notSources.has(entry.name)) continue;
    const path = `${prefix}${entry.name}`;
    if (entry.isDirectory()) files.push(...listFiles(join(folder, entry.name), `${path}/`));
    else if (entry.isFile()) files.push(path);
  }
  return files.sort();
}

/**
 * A hash over names and contents: a checkout, a copy and a touched file with the same text count as the same.
 * @param {string} folder native/
 */
export function hashSources(folder) {
  const hash = createHash('sha256');
  for (const path of listFiles(folder)) {
    const bytes = readFileSync(join(folder, path));
    hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

/**
 * @typedef {{cargo: boolean, rustc: string, missing: string[]}} Toolchain `missing` names the tools a build lacks
 * @typedef {{sources: string, rustc: string, missing: string[], result: 'built' | 'failed' | 'unavailable', library?: string}} Stamp `library` is the SHA-256 of what was built
 */

/**
 * @param {{sources: string, toolchain: Toolchain, stamp: Stamp | undefined, library: string | undefined, force: boolean}} state `library` is the SHA-256 of what is there
 * @returns {'nothing' | 'build' | 'announce' | 'known'} `announce`: there is no cargo, say so; `known`: it cannot be
 *   built, and that has been said before
 */
export function planNative({ sources, toolchain, stamp, library, force }) {
  const built =
    stamp?.result === 'built' &&
    stamp.sources === sources &&
    stamp.library !== undefined &&
    stamp.library === library;
  if (!toolchain.cargo) {
    if (built) return 'nothing';
    return stamp?.result === 'unavailable' && stamp.sources === sources && !force ? 'known' : 'announce';
  }
  if (force) return 'build';
  if (built && stamp.rustc === toolchain.rustc) return 'nothing';
  const failedAlike =
    stamp?.result === 'failed' &&
    stamp.sources === sources &&
    stamp.rustc === toolchain.rustc &&
    stamp.missing.join() === toolchain.missing.join();
  return failedAlike ? 'known' : 'build';
}

/** @param {string} path @returns {Stamp | undefined} */
export function readStamp(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * By content, so that a copy into an image counts as the same.
 * @param {string} path @returns {string | undefined} undefined when there is no such file
 */
export function hashLibrary(path) {
  return existsSync(path) ? createHash('sha256').update(readFileSync(path)).digest('hex') : undefined;
}
