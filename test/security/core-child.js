/**
 * Runs batches with the native addon on the main thread and on another, replaces the root key, reports, and goes on with the same
 * until a line comes; then it rests until its input ends. It never sees a key in the clear. Arguments: paths of the root file, of the next root file, of the sealed
 * keys, of the batch request.
 *
 * JavaScript, since the WebAssembly that strips types reserves gigabytes of address space, and gdb writes them all.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

const addon = createRequire(import.meta.url)('../../native/build/intaglio_native.node');

/**
 * The same root key by every way there is to it: see RootSource.
 * @type {((path: string) => number)[]}
 */
const waysToRoot = [
  (path) => addon.rootFromFile(path),
  (path) => addon.rootFromDescriptor(openSync(path, 'r')),
  (path) =>
    addon.rootFromLentPage((/** @type {Uint8Array} */ page) => {
      const file = openSync(path, 'r');
      readSync(file, page);
      closeSync(file);
    }),
];

/** @typedef {{ rootPath: string, nextPath: string, keysPath: string, requestPath: string }} Places */

/** @param {Places} places */
function signAll(places) {
  for (const toRoot of waysToRoot) signWith(toRoot(places.rootPath), places);
}

/**
 * @param {number} root
 * @param {Places} places
 */
function signWith(root, { requestPath }) {
  addon.rootMacKey(root, 'a-use');
  const request = new Uint8Array(readFileSync(requestPath));
  for (let round = 0; round < 10; round++) run(root, request);
}

/**
 * @param {number} root
 * @param {Uint8Array} request
 */
function run(root, request) {
  const view = new DataView(request.buffer);
  const count = view.getUint32(0, true);
  const response = new Uint8Array(view.getUint32(4, true));
  addon.run(root, request, response);
  const results = new Uint32Array(response.buffer, 0, 2 * count);
  for (let index = 0; index < count; index++) {
    if (results[2 * index] !== 0) throw new Error(`item ${index}: status ${results[2 * index]}`);
  }
}

/**
 * As a rotation does it: each key is sealed anew, and what both root keys seal is in use meanwhile.
 * @param {Places} places
 */
function rotate({ rootPath, nextPath, keysPath, requestPath }) {
  const [before, next] = [addon.rootFromFile(rootPath), addon.rootFromFile(nextPath)];
  const both = addon.joinRoots(next, before);
  const request = new Uint8Array(readFileSync(requestPath));
  /** @type {{ tenant: string, aad: string, sealed: string }[]} */
  const keys = JSON.parse(readFileSync(keysPath, 'utf8'));
  for (const { tenant, aad, sealed } of keys) {
    run(both, request);
    const bytes = new Uint8Array(Buffer.from(sealed, 'base64'));
    if (addon.reseal(before, next, tenant, aad, bytes) === null) throw new Error('a key is not sealed anew');
  }
  addon.closeRoot(both);
  addon.closeRoot(next);
  addon.closeRoot(before);
}

if (isMainThread) {
  const [rootPath = '', nextPath = '', keysPath = '', requestPath = ''] = process.argv.slice(2);
  const places = { rootPath, nextPath, keysPath, requestPath };
  const control = createHash('sha256').update('intaglio test core control').digest();
  signAll(places);
  rotate(places);
  const rests = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL(import.meta.url), { workerData: { places, rests } });
  worker.once('error', (error) => {
    throw error;
  });
  worker.once('message', () => process.stdout.write('signed\n'));
  worker.once('exit', () => process.stdout.write('rests\n'));
  process.stdin.once('data', () => Atomics.store(rests, 0, 1));
  // Keeps the process, and the control in it, until the parent has its dump.
  process.stdin.once('end', () => process.exit(control.length === 32 ? 0 : 1)).resume();
} else {
  /** @type {{ places: Places, rests: Int32Array }} */
  const { places, rests } = workerData;
  signAll(places);
  rotate(places);
  parentPort?.postMessage('signed');
  while (Atomics.load(rests, 0) === 0) rotate(places);
}
