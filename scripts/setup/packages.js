/** The npm packages: whether node_modules holds what package-lock.json says, and `npm ci` when it does not. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runStep } from './run.js';
import { elapsed, say } from './say.js';

/**
 * @typedef {{version?: string, integrity?: string, dev?: boolean, devOptional?: boolean, optional?: boolean, link?: boolean}} LockedPackage
 * @typedef {{packages?: Record<string, LockedPackage>}} Lockfile
 */

/**
 * Compares the wanted lock file with the one npm leaves in node_modules when an installation is complete.
 * Packages that are there beyond what is wanted do no harm and are left alone.
 * @param {Lockfile} wanted package-lock.json
 * @param {Lockfile | undefined} installed node_modules/.package-lock.json
 * @param {{dev: boolean}} options whether the development packages are needed
 * @returns {string | undefined} why an installation is due, undefined when all is there
 */
export function staleReason(wanted, installed, { dev }) {
  if (installed === undefined) return 'the packages are not installed';
  for (const [path, want] of Object.entries(wanted.packages ?? {})) {
    // Of our own in the checkout is what they need, which is listed, too.
    if (!path.startsWith('node_modules/') || want.link === true) continue;
    const have = installed.packages?.[path];
    if (have === undefined) {
      const mayBeAbsent =
        want.optional === true || ((want.dev === true || want.devOptional === true) && !dev);
      if (!mayBeAbsent) return `${path} is missing`;
    } else if (have.version !== want.version || have.integrity !== want.integrity) {
      return `${path} is not the locked version`;
    }
  }
  return undefined;
}

/** @param {string} path @returns {Lockfile | undefined} */
function readLockfile(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Intaglio is TypeScript that Node runs directly: that needs 22.18 at least, and uWebSockets.js is pinned for 24. */
const nodeMajor = 24;

/** @param {string} root */
function hasNode(root) {
  return (
    existsSync(join(root, 'node_modules', '.bin', 'node')) ||
    Number.parseInt(process.versions.node, 10) === nodeMajor
  );
}

/**
 * @param {string} root @param {{dev: boolean}} options
 * @returns {string | undefined}
 */
export function packagesDue(root, options) {
  const wanted = readLockfile(join(root, 'package-lock.json'));
  if (wanted === undefined)
    throw new Error('package-lock.json is missing or broken; this is not a whole checkout');
  const reason = staleReason(wanted, readLockfile(join(root, 'node_modules', '.package-lock.json')), options);
  return reason ?? (hasNode(root) ? undefined : `Node ${nodeMajor} is missing`);
}

const relink = ['rebuild', '--ignore-scripts', `node-${process.platform}-${process.arch}`];

/**
 * @param {string} root @param {string} reason @param {{dev: boolean}} options
 */
export async function installPackages(root, reason, { dev }) {
  const started = Date.now();
  say(`${reason}: running npm ci`);
  // The npm that called us, on the machine's own Node: the one in node_modules is about to be replaced.
  const { npm_execpath: npmScript, npm_node_execpath: npmNode } = process.env;
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=warn', ...(dev ? ['--include=dev'] : [])];
  const [command, commandArgs] =
    npmScript !== undefined && /npm-cli\.c?js$/.test(npmScript)
      ? [npmNode ?? process.execPath, [npmScript, ...args]]
      : ['npm', args];
  const { ok, output } = await runStep('installing packages', command, commandArgs, { cwd: root });
  if (!ok) throw new Error(`npm ci failed:\n${output.join('\n')}`);
  // npm 9.2, Debian's, removes the link to the Node of this platform together with those of the others, which all have one name.
  if (!hasNode(root))
    await runStep('linking Node', command, [...commandArgs.slice(0, -args.length), ...relink], { cwd: root });
  if (!hasNode(root)) {
    throw new Error(
      `there is no Node ${nodeMajor} on npm for ${process.platform}-${process.arch}, and this one is ` +
        `${process.version}; install Node ${nodeMajor} and try again`,
    );
  }
  say(`packages installed in ${elapsed(started)}`);
}
