/**
 * Imports the keys in the files of a directory, signs with them, and leaves there a heap snapshot and the contents of
 * every live ArrayBuffer, with planted controls in both. Arguments: engine name, directory.
 */
import { appendFileSync, closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { type InspectorNotification, type Runtime, Session } from 'node:inspector';
import { join } from 'node:path';
import { writeHeapSnapshot } from 'node:v8';
import { keyTypes } from '../../src/engine/engine.ts';
import {
  aad,
  nextKeyNumber,
  runBatch,
  type SigningKeyTypeName,
  schemesOf,
  signItem,
  tenant,
} from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { distinctBytes } from './secrets.ts';

const [engineName, directory] = process.argv.slice(2) as [string, string];
const engine = availableEngines()
  .find(({ name }) => name === engineName)
  ?.create();
if (engine === undefined) throw new Error(`no engine ${engineName}`);
const root = engine.openRoot({ kind: 'memory' });

for (const name of readdirSync(directory).filter((file) => file.endsWith('.secret'))) {
  const keyTypeName = name.replace('.secret', '') as SigningKeyTypeName;
  const key = engine.importKey(root, keyTypes[keyTypeName], tenant, aad, readInto(join(directory, name)));
  for (const scheme of schemesOf[keyTypeName]) {
    // Once from the blob and once from the cache.
    for (const keyNumber of [0, nextKeyNumber()]) {
      const items = Array.from({ length: 4 }, () => signItem(scheme, key, Buffer.from('m'), { keyNumber }));
      for (const { status } of runBatch(engine, root, items)) {
        if (status !== 0) throw new Error(`${name}: status ${status}`);
      }
    }
  }
}

const control = distinctBytes('heap control');
const controls = {
  control,
  hex: control.toString('hex'),
  base64: control.toString('base64'),
  latin1: control.toString('latin1'),
  utf16: control.toString('utf16le'),
};
dumpArrayBuffers(join(directory, 'buffers.bin'));
writeHeapSnapshot(join(directory, 'snapshot.json'));
// The controls have to be alive until here.
process.stdout.write(`${Object.keys(controls).length}\n`);

/** A file into a buffer of its own, never a string; importKey wipes it. */
function readInto(path: string): Buffer {
  const file = openSync(path, 'r');
  const bytes = Buffer.allocUnsafeSlow(fstatSync(file).size);
  readSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
  return bytes;
}

/** A heap snapshot has strings but no contents of ArrayBuffers; the inspector finds every live one. */
function dumpArrayBuffers(path: string): void {
  const session = new Session();
  session.connect();
  const post = <T>(method: string, params: object): T => {
    let answer: T | undefined;
    session.post(method, params, (error: Error | null, value?: object) => {
      if (error !== null) throw error;
      answer = value as T;
    });
    // The inspector of the own thread answers before post() returns.
    return answer as T;
  };
  const prototype = post<Runtime.EvaluateReturnType>('Runtime.evaluate', {
    expression: 'ArrayBuffer.prototype',
  });
  const all = post<Runtime.QueryObjectsReturnType>('Runtime.queryObjects', {
    prototypeObjectId: prototype.result.objectId,
  });
  Object.assign(globalThis, { write: (buffer: ArrayBuffer) => appendFileSync(path, new Uint8Array(buffer)) });
  post<InspectorNotification<object>>('Runtime.callFunctionOn', {
    objectId: all.objects.objectId,
    functionDeclaration: 'function () { for (const buffer of this) if (!buffer.detached) write(buffer); }',
  });
  session.disconnect();
}
