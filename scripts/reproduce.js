/**
 * Builds the native engine and the package twice from one commit, in two directories of different names, and compares them byte
 * for byte. Takes two builds of the engine, some minutes each. Exit status 1 where they differ; both are kept then.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const place = mkdtempSync(join(tmpdir(), 'intaglio-reproduce-'));

/** @param {string} cwd @param {string} command @param {string[]} args */
function run(cwd, command, ...args) {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

/** @param {string} path */
const sha256 = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

/**
 * @param {string} name of the directory; of another length than the other one, so that paths would show
 * @returns {Record<string, string>} the SHA-256 of each thing that was made
 */
function build(name) {
  const directory = join(place, name);
  run(root, 'git', 'clone', '--quiet', '--no-hardlinks', root, directory);
  run(directory, process.execPath, 'scripts/setup.js', '--dev');
  const addon = join(directory, 'native/build/intaglio_native.node');
  if (!existsSync(addon)) throw new Error('the native engine did not build: there is nothing to compare');
  // Objects of a build are half a gigabyte, and nothing of them is delivered.
  rmSync(join(directory, 'native/target'), { recursive: true, force: true });
  run(directory, 'npm', 'pack', '--silent');
  const tarball = readdirSync(directory).find((file) => file.endsWith('.tgz')) ?? '';
  return { 'native/build/intaglio_native.node': sha256(addon), [tarball]: sha256(join(directory, tarball)) };
}

try {
  const commit = run(root, 'git', 'rev-parse', 'HEAD').trim();
  const [first, second] = [build('one'), build('the-other')];
  for (const [what, hash] of Object.entries(first)) {
    const same = hash === second[what];
    process.stdout.write(`${what} of ${commit}: ${same ? `the same, SHA-256 ${hash}` : 'DIFFERENT'}\n`);
    if (!same) process.exitCode = 1;
  }
} finally {
  if (process.exitCode === 1) process.stdout.write(`both are kept in ${place}\n`);
  else rmSync(place, { recursive: true, force: true });
}
