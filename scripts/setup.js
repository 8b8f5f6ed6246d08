/**
 * Puts in place the things between a fresh checkout and `npm start` or `npm test`: packages, the uWebSockets.js library, the
 * native engine. Plain JavaScript without dependencies, because it runs on the machine's own Node before there is anything
 * else. Says nothing and changes nothing when all is in place. See docs/setup.md.
 */
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isLocked, takeLock } from './setup/lock.js';
import { buildNative, nativeDue } from './setup/native.js';
import { installPackages, packagesDue } from './setup/packages.js';
import { stopRunning } from './setup/run.js';
import { say, sayLoudly } from './setup/say.js';
import { installTestTools, missingTestTools } from './setup/test-tools.js';
import { planInstalled, replaceFile } from './setup/uws.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** In another project's node_modules the packages are that project's affair, and there is no lock file. */
const isCheckout = !dirname(root).endsWith('node_modules');
const lockPath = join(root, 'native', 'build', 'setup.lock');

const usage = `usage: node scripts/setup.js [--dev] [--test] [--native-only] [--force]
  --dev          also the packages for development
  --test         also those, and the Debian packages that tests drive (gdb)
  --native-only  the native engine and nothing else; fails when it does not build
  --force        build the native engine even if that failed before or is up to date
`;

/** @param {string[]} args */
function readOptions(args) {
  const known = ['--dev', '--test', '--native-only', '--force'];
  if (args.some((arg) => !known.includes(arg))) {
    process.stderr.write(usage);
    process.exit(2);
  }
  const has = (/** @type {string} */ name) => args.includes(name);
  return {
    dev: has('--dev') || has('--test'),
    test: has('--test'),
    nativeOnly: has('--native-only'),
    force: has('--force'),
  };
}

/** @typedef {ReturnType<typeof readOptions>} Options */

/** @param {Options} options */
function somethingDue(options) {
  if (nativeDue(root, options)) return true;
  if (options.nativeOnly) return false;
  if (isCheckout && packagesDue(root, options) !== undefined) return true;
  const library = planInstalled(root);
  if (library !== undefined && library.plan.action !== 'keep') return true;
  return options.test && missingTestTools(root, options).length > 0;
}

function fitLibrary() {
  const library = planInstalled(root);
  if (library === undefined || library.plan.action === 'keep') return;
  if (library.plan.action === 'refuse') throw new Error(library.plan.reason);
  replaceFile(library.path, library.plan.bytes);
  say(
    `${library.file} retargeted to this machine's older glibc (${library.plan.renamed.join(', ')}); SHA-256 checked`,
  );
}

/** @param {Options} options */
async function work(options) {
  if (!options.nativeOnly) {
    const reason = isCheckout ? packagesDue(root, options) : undefined;
    if (reason !== undefined) await installPackages(root, reason, options);
    fitLibrary();
  }
  const native = nativeDue(root, options) ? await buildNative(root, options) : undefined;
  if (options.nativeOnly && native === false) process.exitCode = 1;
  if (options.test) await installTestTools(root, options);
}

for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.once(signal, () => {
    stopRunning();
    process.exit(128 + constants.signals[signal]);
  });
}

try {
  const options = readOptions(process.argv.slice(2));
  if (isLocked(lockPath) || somethingDue(options)) {
    const release = await takeLock(lockPath, (owner) =>
      say(`another set-up (process ${owner}) is at work; waiting for it`),
    );
    await work(options);
    release();
  }
} catch (error) {
  sayLoudly(['The set-up failed.', ...(error instanceof Error ? error.message : String(error)).split('\n')]);
  process.exit(1);
}
