/**
 * Runs batches with the native addon on the main thread and on another, reports, and waits until its input ends. It
 * never sees a key in the clear. Arguments: path of the root file, paths of the batch requests.
 *
 * JavaScript, since the WebAssembly that strips types reserves gigabytes of address space, and gdb writes them all.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

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

/**
 * @param {string} rootPath
 * @param {string[]} requestPaths
 */
function signAll(rootPath, requestPaths) {
  for (const toRoot of waysToRoot) signWith(toRoot(rootPath), requestPaths);
}

/**
 * @param {number} root
 * @param {string[]} requestPaths
 */
function signWith(root, requestPaths) {
  addon.rootMacKey(root, 'a-use');
  for (const path of requestPaths) {
    const request = new Uint8Array(readFileSync(path));
    const view = new DataView(request.buffer);
    const count = view.getUint32(0, true);
    const responseBytes = view.getUint32(4, true);
    for (let round = 0; round < 10; round++) {
      const response = new Uint8Array(responseBytes);
      addon.run(root, request, response);
      const results = new Uint32Array(response.buffer, 0, 2 * count);
      for (let index = 0; index < count; index++) {
        if (results[2 * index] !== 0) throw new Error(`item ${index}: status ${results[2 * index]}`);
      }
    }
  }
}

if (isMainThread) {
  const [rootPath = '', ...requestPaths] = process.argv.slice(2);
  const control = createHash('sha256').update('intaglio test core control').digest();
  signAll(rootPath, requestPaths);
  const worker = new Worker(new URL(import.meta.url), { workerData: { rootPath, requestPaths } });
  worker.once('error', (error) => {
    throw error;
  });
  worker.once('exit', () => process.stdout.write('signed\n'));
  // Keeps the process, and the control in it, until the parent has its dump.
  process.stdin.once('end', () => process.exit(control.length === 32 ? 0 : 1)).resume();
} else {
  signAll(workerData.rootPath, workerData.requestPaths);
}
