/** Programs that tests drive for real. A test whose program is missing skips and says so; nothing here fails a run. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { say } from './say.js';
import { findProgram, installDebian, mayInstall } from './system.js';

/**
 * gcore, which comes with gdb, takes the core image in which a test looks for private keys. softhsm2-util comes with the PKCS#11
 * module of SoftHSM2, in which tests make keys. tpm2_checkquote judges what a TPM signed, as others do.
 */
const testTools = [
  { program: 'gcore', debian: 'gdb' },
  { program: 'softhsm2-util', debian: 'softhsm2' },
  { program: 'swtpm', debian: 'swtpm' },
  { program: 'tpm2_checkquote', debian: 'tpm2-tools' },
];

/** @param {string} root */
const notePath = (root) => join(root, 'node_modules', '.cache', 'intaglio', 'test-tools.json');

/** @param {string} root @returns {string[]} what could not be had the last time, so that it is tried and said once */
function knownMissing(root) {
  try {
    return JSON.parse(readFileSync(notePath(root), 'utf8'));
  } catch {
    return [];
  }
}

/** @param {string} root @param {{force: boolean}} options */
export function missingTestTools(root, { force }) {
  const missing = testTools.filter((tool) => findProgram(tool.program) === undefined);
  if (missing.length === 0 || force) return missing;
  const known = knownMissing(root);
  return missing.filter((tool) => !known.includes(tool.debian));
}

/** @param {string} root @param {{force: boolean}} options */
export async function installTestTools(root, options) {
  const missing = missingTestTools(root, options);
  if (missing.length === 0) return;
  const names = missing.map((tool) => tool.debian);
  if (mayInstall()) await installDebian(names);
  const still = missing.filter((tool) => findProgram(tool.program) === undefined).map((tool) => tool.debian);
  if (still.length === 0) return;
  say(`not installed: ${still.join(' ')}; the tests that need it are skipped`);
  mkdirSync(dirname(notePath(root)), { recursive: true });
  writeFileSync(notePath(root), JSON.stringify(still));
}
