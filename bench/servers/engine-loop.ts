import { type KeyTypeName, keyTypes, type Scheme } from '../../src/algorithms/ids.ts';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { batchOps, batchStatuses, encodeBatch, readResults, responseFor } from '../../src/engine/batch.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { loadNativeEngine } from '../../src/engine/native/index.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import type { EngineTask, EngineTimes, OperationTimes } from '../support/engine.ts';
import { timeUs } from './sample.ts';
import { timeSealing } from './sealing-loop.ts';

/**
 * Comparator: the engine alone, called in a loop with batches as the workers do. The limit of what a server around it
 * can reach. Reads an EngineTask from its command line, prints EngineTimes, or null where the engine cannot be had.
 */

const options = { reseedIntervalOps: 100_000, keyCacheBytes: 2 ** 20 };

/**
 * As many as a worker often has at hand under load; the price of the call is then spread as it is there, and the varying
 * number of attempts that ML-DSA needs evens out. RSA is slow enough that one signature is a sample.
 */
function batchSizeOf(name: KeyTypeName): number {
  return name.startsWith('rsa-') ? 1 : 16;
}

function openEngine(name: EngineTask['engine']): Engine | undefined {
  if (name !== 'openssl') {
    const native = loadNativeEngine(options);
    if (!('unavailable' in native)) return native;
    if (name === 'native') return undefined;
  }
  return createOpensslEngine(options);
}

/** The first way of the algorithm whose key this is. */
function schemeOf(name: KeyTypeName): Scheme {
  const found = findAlgorithm(name);
  if (found === undefined) throw new Error(`${name} is no algorithm of its own`);
  return found.components[0].schemes[0].scheme;
}

function timesOf(engine: Engine, root: unknown, name: KeyTypeName, windowMs: number): OperationTimes {
  const keyType = keyTypes[name];
  const scheme = schemeOf(name);
  const batchSize = batchSizeOf(name);
  const made = engine.generate(root, keyType, 'bench', 'bench');
  const key = buildKeyReference('bench', 'bench', made.sealed);
  const messages = Array.from({ length: batchSize }, (_, n) => new Uint8Array(32).fill(n));

  const signing = messages.map((message) => ({
    op: batchOps.sign,
    scheme,
    keyNumber: 2 * keyType,
    key,
    inputs: [message],
  }));
  const signRequest = encodeBatch(signing);
  const signed = responseFor(signRequest);
  const signUs = timeUs(() => engine.run(root, signRequest, signed), windowMs) / batchSize;

  const verifying = readResults(signing, signed).map(({ status, outputs }, n) => {
    if (status !== batchStatuses.ok) throw new Error(`${name}: signing gave status ${status}`);
    const message = messages[n] as Uint8Array;
    return {
      op: batchOps.verify,
      scheme,
      keyNumber: 2 * keyType + 1,
      key: made.publicKey,
      inputs: [message, ...outputs],
    };
  });
  const verifyRequest = encodeBatch(verifying);
  const verified = responseFor(verifyRequest);
  const verifyUs = timeUs(() => engine.run(root, verifyRequest, verified), windowMs) / batchSize;
  for (const { status } of readResults(verifying, verified))
    if (status !== batchStatuses.ok) throw new Error(`${name}: verifying gave status ${status}`);
  return { signUs, verifyUs };
}

const task = JSON.parse(process.argv[2] as string) as EngineTask;
const engine = openEngine(task.engine);
let answer: EngineTimes | null = null;
if (engine !== undefined) {
  const root = engine.openRoot({ kind: 'memory' });
  const times = task.keyTypes.map((name) => [name, timesOf(engine, root, name, task.windowMs)] as const);
  answer = {
    description: engine.description,
    times: Object.fromEntries(times),
    ...(task.sealing === true && { sealing: timeSealing(engine, root, task.windowMs) }),
  };
  engine.wipe();
}
process.stdout.write(JSON.stringify(answer));
