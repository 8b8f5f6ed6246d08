import { createRequire } from 'node:module';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import type * as addon from '../../native/index.d.ts';
import { type BatchItem, batchOps, encodeBatch, readResults, responseFor } from '../../src/engine/batch.ts';
import { keyTypes, type Scheme } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { type SigningKeyTypeName, schemesOf } from '../support/batches.ts';

/** What native-addon.test.ts runs in processes and threads of its own, because the addon's state is the process's. */

const native: typeof addon = createRequire(import.meta.url)('../../native/build/intaglio_native.node');
const message = new Uint8Array(32).fill(7);
const largeBatch = 64;

interface Work {
  readonly root: number;
  readonly rounds: number;
  readonly items: readonly BatchItem[];
  /** This thread forgets keys instead of signing. */
  readonly forgets: boolean;
}

function newItem(root: number, name: SigningKeyTypeName, keyNumber: number) {
  const { sealed, publicKey } = native.generate(root, keyTypes[name], 'acme', 'kid');
  const key = buildKeyReference('acme', 'kid', sealed);
  const scheme = schemesOf[name][0] as Scheme;
  const item: BatchItem = { op: batchOps.sign, scheme, keyNumber, key, inputs: [message] };
  return { item, publicKey };
}

function sign(root: number, items: readonly BatchItem[]) {
  const request = encodeBatch(items);
  const response = responseFor(request);
  native.run(root, request, response);
  return readResults(items, response);
}

const mixed = ['ed25519', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87', 'ecdsa-p256'] as const;

/** More keys than the smallest arena holds: every one signs, again and again, and its signatures verify. */
function eviction() {
  native.configure({ reseedIntervalOps: 100, arenaBytes: 393_216 });
  const root = native.rootRandom();
  const keys = Array.from({ length: 200 }, (_, index) =>
    // RSA keys take 50 ms each to make.
    newItem(
      root,
      index % 20 === 0 ? 'rsa-2048' : (mixed[index % mixed.length] as SigningKeyTypeName),
      index + 1,
    ),
  );
  let good = 0;
  for (let round = 0; round < 3; round++) {
    for (let from = 0; from < keys.length; from += largeBatch) {
      const part = keys.slice(from, from + largeBatch);
      const results = sign(
        root,
        part.map(({ item }) => item),
      );
      const checks = part.map(({ item, publicKey }, index) => ({
        ...item,
        op: batchOps.verify,
        key: publicKey,
        inputs: [message, results[index]?.outputs[0] as Uint8Array],
      }));
      const request = encodeBatch(checks);
      const response = responseFor(request);
      native.run(0, request, response);
      good += readResults(checks, response).filter(({ status }) => status === 0).length;
    }
  }
  return { good, ...native.stats() };
}

/** Under an RLIMIT_MEMLOCK that the arena outgrows. */
function memlock() {
  const root = native.rootRandom();
  const before = native.stats();
  const keys = Array.from({ length: 200 }, (_, index) => newItem(root, 'ml-dsa-65', index + 1).item);
  const statuses = new Set(sign(root, keys).map(({ status }) => status));
  return { statuses: [...statuses], before, after: native.stats() };
}

function wipe() {
  native.configure({ reseedIntervalOps: 1000, arenaBytes: 1 << 20 });
  const root = native.rootRandom();
  const { item } = newItem(root, 'ml-dsa-44', 1);
  const status = () => sign(root, [item])[0]?.status;
  const before = [status(), native.stats().keys];
  native.wipe();
  const after = [status(), native.stats().keys];
  const another = newItem(native.rootRandom(), 'ed25519', 2);
  return { before, after, codes: codesOf(() => native.generate(root, 1, 'acme', 'kid')), another: !!another };
}

function configure() {
  const tries = [
    { reseedIntervalOps: 0, arenaBytes: 1 << 20 },
    { reseedIntervalOps: 1.5, arenaBytes: 1 << 20 },
    { reseedIntervalOps: 2 ** 32, arenaBytes: 1 << 20 },
    { reseedIntervalOps: 1, arenaBytes: 393_215 },
    { reseedIntervalOps: 1, arenaBytes: 2 ** 30 + 1 },
    { reseedIntervalOps: 1, arenaBytes: Number.NaN },
    { reseedIntervalOps: 7, arenaBytes: 1 << 20 },
    { reseedIntervalOps: 7, arenaBytes: 1 << 20 },
    { reseedIntervalOps: 7, arenaBytes: 1 << 21 },
  ];
  const codes = tries.map((settings) => codesOf(() => native.configure(settings)));
  // Every generated key draws a seed and a nonce.
  const root = native.rootRandom();
  const before = native.stats().reseeds;
  for (let index = 0; index < 70; index++) native.generate(root, keyTypes.ed25519, 'acme', 'kid');
  return { codes, reseeds: native.stats().reseeds - before, arenaBytes: native.stats().arenaBytes };
}

function codesOf(call: () => unknown): string {
  try {
    call();
    return 'ok';
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
}

function work({ root, rounds, items, forgets }: Work) {
  const counts: Record<number, number> = {};
  for (let round = 0; round < rounds; round++) {
    if (forgets) {
      for (const { keyNumber } of items) native.forget(keyNumber);
      continue;
    }
    for (const { status } of sign(root, items)) counts[status] = (counts[status] ?? 0) + 1;
  }
  return counts;
}

if (isMainThread) {
  const scenario = { eviction, memlock, wipe, configure }[process.argv[2] ?? ''];
  if (scenario === undefined) throw new Error('unknown scenario');
  process.stdout.write(JSON.stringify(scenario()));
} else {
  parentPort?.postMessage(work(workerData as Work));
}
