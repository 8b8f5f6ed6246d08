/** The machine's equipment: programs on PATH, libclang, Debian's package manager. */
import { accessSync, constants, existsSync, readdirSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { runStep } from './run.js';
import { elapsed, say } from './say.js';

/** @param {string} name @returns {string | undefined} */
export function findProgram(name) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    if (folder === '') continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // Not in this folder.
    }
  }
  return undefined;
}

/** @param {string} folder @param {RegExp} pattern */
function holds(folder, pattern) {
  try {
    return readdirSync(folder).some((name) => pattern.test(name));
  } catch {
    return false;
  }
}

/** Looks where clang-sys, which bindgen uses, looks first. */
export function hasLibclang() {
  if (process.env.LIBCLANG_PATH !== undefined || process.platform === 'darwin') return true;
  const folders = [
    '/usr/lib',
    '/usr/lib64',
    '/usr/local/lib',
    '/usr/lib/x86_64-linux-gnu',
    '/usr/lib/aarch64-linux-gnu',
  ];
  if (existsSync('/usr/lib')) {
    for (const name of readdirSync('/usr/lib'))
      if (name.startsWith('llvm')) folders.push(join('/usr/lib', name, 'lib'));
  }
  return folders.some((folder) => holds(folder, /^libclang(-[\d.]+)?\.so(\.[\d.]+)?$/));
}

/** True if Debian packages may be installed without asking: as root, unless INTAGLIO_NO_APT=1. */
export function mayInstall() {
  return (
    process.getuid?.() === 0 && process.env.INTAGLIO_NO_APT !== '1' && findProgram('apt-get') !== undefined
  );
}

/**
 * @param {string[]} names Debian packages
 * @returns {Promise<{ok: boolean, output: string[]}>}
 */
export async function installDebian(names) {
  const started = Date.now();
  say(`installing ${names.join(' ')} from Debian (INTAGLIO_NO_APT=1 forbids it)`);
  const options = { cwd: '/', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
  const wait = ['-o', 'DPkg::Lock::Timeout=120'];
  // A failed update is no reason to give up: the lists that are there may do.
  await runStep('reading package lists', 'apt-get', [...wait, 'update', '-qq'], options);
  const result = await runStep(
    `installing ${names.join(' ')}`,
    'apt-get',
    [...wait, 'install', '-y', '-qq', '--no-install-recommends', ...names],
    options,
  );
  if (result.ok) say(`installed ${names.join(' ')} in ${elapsed(started)}`);
  return result;
}
