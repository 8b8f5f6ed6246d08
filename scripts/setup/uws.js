/**
 * Checks the uWebSockets.js library that npm installed against pinned hashes and, where the C library is older than the
 * library asks for, replaces it by a retargeted copy (elf.js). It is a change to somebody else's binary, so it happens
 * only to the very file that was examined, and only its known result is put in place.
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { retarget } from './elf.js';

/** @typedef {{file: string, installed: string, retargeted?: string}} Pinned SHA-256 as shipped, and after retargeting */

/**
 * uWebSockets.js 20.57.0 (npm: @btc-vision/uwebsockets.js), for Node 24 (module ABI 137).
 * @type {Readonly<Record<string, Pinned>>}
 */
export const pinned = {
  'linux-x64': {
    file: 'uws_linux_x64_137.node',
    installed: '98128405dba2fb608448e921a979530f70c946a2cc9889c15f2fa70c2d00ab05',
    retargeted: '8d5817f3a52803cb69a0e3d54f6487b533fda603aa63dab8ea09f9762d992e0b',
  },
  'linux-arm64': {
    file: 'uws_linux_arm64_137.node',
    installed: '88618b30ddf6b2b62310db89f40a701616676352aac5e0f6184dd8ef876199ce',
    retargeted: '84c03ca18de632e52cce378f073f8b008c0817c957d2e475284ce08f75c88a77',
  },
  'darwin-x64': {
    file: 'uws_darwin_x64_137.node',
    installed: '98fd7e9456e2d37d3262b05b053d673830927f91c63c0c2ae73bde8d19eef293',
  },
  'darwin-arm64': {
    file: 'uws_darwin_arm64_137.node',
    installed: '2187391c702fa7ad3bf685eff7712c15cf24fa7cf324a131dfcbae3fd0f20a9a',
  },
};

/** The version that the library asks for as it ships, and the one that the retargeted copy asks for (`arc4random`). */
const shippedNeeds = '2.38';
const retargetedNeeds = '2.36';

/** @param {Buffer} bytes */
export function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

/** @param {string} version @param {string} than */
function olderGlibc(version, than) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split('.').map(Number);
  return major < thanMajor || (major === thanMajor && minor < thanMinor);
}

/**
 * Decides over bytes alone, so that it can be tested anywhere.
 * @param {Buffer} bytes the library as it lies there
 * @param {Pinned} pin
 * @param {string | undefined} glibc version of the C library, undefined where there is no glibc
 * @returns {{action: 'keep'} | {action: 'replace', bytes: Buffer, renamed: string[]} | {action: 'refuse', reason: string}}
 */
export function planLibrary(bytes, pin, glibc) {
  const hash = sha256(bytes);
  if (hash === pin.retargeted) return { action: 'keep' };
  if (hash !== pin.installed) {
    return {
      action: 'refuse',
      reason:
        `${pin.file} is not the file this version of Intaglio was tried with (its SHA-256 is ${hash}, expected ` +
        `${pin.installed}). Remove node_modules and run the command again; if it stays, do not run this library.`,
    };
  }
  if (glibc === undefined || !olderGlibc(glibc, shippedNeeds)) return { action: 'keep' };
  if (pin.retargeted === undefined || olderGlibc(glibc, retargetedNeeds)) {
    return {
      action: 'refuse',
      reason: `uWebSockets.js needs glibc ${retargetedNeeds} or newer; this machine has ${glibc}.`,
    };
  }
  const { bytes: copy, renamed } = retarget(bytes);
  const result = sha256(copy);
  if (result !== pin.retargeted) {
    return {
      action: 'refuse',
      reason: `retargeting ${pin.file} gave SHA-256 ${result}, expected ${pin.retargeted}.`,
    };
  }
  return { action: 'replace', bytes: copy, renamed };
}

/** The version of glibc that this process runs with, or undefined (macOS, musl). */
export function glibcVersion() {
  if (process.platform !== 'linux') return undefined;
  // Without this the report may look up the name of every open connection (Node 22 and newer know the switch).
  if ('excludeNetwork' in process.report) process.report.excludeNetwork = true;
  const report = /** @type {{header: {glibcVersionRuntime?: string}}} */ (process.report.getReport());
  return report.header.glibcVersionRuntime;
}

/**
 * Writes beside the file and renames over it, so that a process that has the old one open keeps it whole.
 * @param {string} path @param {Buffer} bytes
 */
export function replaceFile(path, bytes) {
  const copy = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(copy, 'wx', 0o644);
    try {
      for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    if (!readFileSync(copy).equals(bytes)) throw new Error(`${copy} did not read back as written`);
    renameSync(copy, path);
  } catch (error) {
    rmSync(copy, { force: true });
    throw error;
  }
}

/**
 * The work to be done on the installed library; undefined on a platform without a pinned one.
 * @param {string} root the checkout or the package, from where the library is looked for as Node does
 */
export function planInstalled(root) {
  const pin = pinned[`${process.platform}-${process.arch}`];
  if (pin === undefined) return undefined;
  const folder = dirname(createRequire(join(root, 'package.json')).resolve('uWebSockets.js'));
  const path = join(folder, pin.file);
  return { path, file: pin.file, plan: planLibrary(readFileSync(path), pin, glibcVersion()) };
}
