import assert from 'node:assert/strict';
import { randomBytes, randomFillSync } from 'node:crypto';
import test from 'node:test';
import { createCancellation } from '../../src/core/cancellation.ts';
import { type CryptoCall, createBatchCarrier } from '../../src/dispatch/crypto-dispatch.ts';
import { createDrawnValues } from '../../src/dispatch/drawn-values.ts';
import type { BatchJob, Job } from '../../src/dispatch/job.ts';
import type { WorkerPool } from '../../src/dispatch/pool.ts';
import {
  type BatchItem,
  type BatchResult,
  batchOps,
  batchStatuses,
  responsesFor,
} from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { wordInput } from '../../src/engine/rooms.ts';
import { createCostMeter } from '../../src/queue/cost-meter.ts';
import { testEngineOptions } from '../support/engines.ts';
import { aeadNames } from '../support/sealing.ts';

const { ok, internal } = batchStatuses;
const none = new Uint8Array(0);
/** The random source of an engine; a test makes it repeat. */
let draw: (bytes: Buffer) => void = randomFillSync;
// Two engines: the threads of a process.
const engines = [1, 2].map(() => createOpensslEngine(testEngineOptions, (bytes) => draw(bytes)));
const root = engines[0]?.openRoot({ kind: 'memory' });
const keys = new Map(
  [...aeadNames, 'aes-256-kwp' as const].map((name) => {
    const key = engines[0]?.generate(root, keyTypes[name], 'acme', 'a');
    return [name, buildKeyReference('acme', 'a', key?.sealed ?? none)];
  }),
);
const crashes: unknown[] = [];

async function run(items: BatchItem[], engine = engines[0]): Promise<readonly BatchResult[]> {
  const work = async (job: Job) => {
    const { batches } = job as BatchJob;
    const responses = responsesFor(batches);
    for (const [n, request] of batches.entries()) engine?.run(root, request, responses[n] as Uint8Array);
    return { responses, busyUs: 1, idleUs: 0, endedAtMs: 0 };
  };
  const pool: WorkerPool = {
    ...{ threads: 1, freeSlots: 1, idleThreads: 1, alive: true },
    run: work,
    runAhead: work,
    useRoot: async () => {},
    close: async () => {},
  };
  let results: readonly BatchResult[] = [];
  const call: CryptoCall = {
    ...{ tenant: 'acme', callClass: 'sign', costUs: 1, offeredAtMs: 0, deadlineAtMs: 0 },
    cancellation: createCancellation(),
    items,
    meters: items.map(() => createCostMeter(1)),
    settle(outcome) {
      if (outcome.ok) results = outcome.value;
    },
  };
  await createBatchCarrier(pool, (cause) => void crashes.push(cause)).carry([call], 1, false);
  return results;
}

function itemsOf(name: (typeof aeadNames)[number]): BatchItem[] {
  const key = keys.get(name) as Uint8Array;
  const common = { scheme: schemes[name], keyNumber: 0, key };
  return [
    { ...common, op: batchOps.encrypt, inputs: [randomBytes(10), none] },
    { ...common, op: batchOps.wrap, inputs: [randomBytes(32), none, none] },
    { ...common, op: batchOps.dataKey, inputs: [wordInput(32), wordInput(1), none, none] },
  ];
}

for (const name of aeadNames)
  test(`${name}: what is encrypted with a nonce that came before is refused, on whichever thread it was drawn`, async (t) => {
    t.after(() => {
      draw = randomFillSync;
    });
    crashes.length = 0;
    const fresh = await run(itemsOf(name));
    assert.deepEqual(
      fresh.map(({ status }) => status),
      [ok, ok, ok],
    );
    const repeated = randomBytes(64);
    draw = (bytes) => void repeated.copy(bytes);
    const [first, ...others] = await run(itemsOf(name));
    assert.equal(first?.status, ok);
    for (const { status, outputs } of others) assert.deepEqual([status, outputs], [internal, []]);
    const elsewhere = await run(itemsOf(name), engines[1]);
    for (const { status } of elsewhere) assert.equal(status, internal);
    // The operator is told of each.
    assert.equal(crashes.length, 5);
    draw = randomFillSync;
    assert.deepEqual(
      (await run(itemsOf(name))).map(({ status }) => status),
      [ok, ok, ok],
    );
  });

test('aes-256-kwp draws nothing, and wraps the same bytes again', async () => {
  const key = keys.get('aes-256-kwp') as Uint8Array;
  const inputs = [Buffer.alloc(32, 1), none, none];
  const item: BatchItem = { op: batchOps.wrap, scheme: schemes['aes-256-kwp'], keyNumber: 0, key, inputs };
  assert.deepEqual(
    (await run([item, item])).map(({ status }) => status),
    [ok, ok],
  );
});

test('a source that starts again is noticed after thousands of values', () => {
  const drawn = createDrawnValues();
  const values = Array.from({ length: 5_000 }, () => randomBytes(24));
  assert.ok(values.every((value) => !drawn.repeats(value)));
  const again = values.filter((value) => drawn.repeats(value)).length;
  // Some slots have had another value since: about 5,000 / 65,536 / 2 of them.
  assert.ok(again > 4_500, `${again}`);
  assert.ok(createDrawnValues().repeats(new Uint8Array(12)), 'zeros');
});
