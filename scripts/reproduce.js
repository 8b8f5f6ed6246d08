/**
 * Builds the native engine and the package twice from one commit, in two directories of different names, and compares them byte
 * for byte. Takes two builds of the engine, some minutes each. Exit status 1 where they differ.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
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

/** @param {string} name of the directory; of another length than the other one, so that paths would show */
function build(name) {
  const directory = join(place, name);
  run(root, 'git', 'clone', '--quiet', '--no-hardlinks', root, directory);
  run(directory, process.execPath, 'scripts/setup.js');
  run(directory, 'npm', 'pack', '--silent');
  const tarball = readdirSync(directory).find((file) => file.endsWith('.tgz')) ?? '';
  return {
    'native/build/intaglio_native.node': sha256(join(directory, 'native/build/intaglio_native.node')),
    'the packed tarball': sha256(join(directory, tarball)),
  };
}

try {
  const [first, second] = [build('one'), build('the-other')];
  for (const [what, hash] of Object.entries(first)) {
    const same = hash === second[/** @type {keyof typeof second} */ (what)];
    process.stdout.write(`${what}: ${same ? `the same, ${hash}` : 'DIFFERENT'}\n`);
    if (!same) process.exitCode = 1;
  }
} finally {
  rmSync(place, { recursive: true, force: true });
}
