import assert from 'node:assert/strict';
import test from 'node:test';
import { createCancellation } from '../../src/core/cancellation.ts';
import type { Result } from '../../src/core/result.ts';
import { type CryptoCall, createBatchCarrier } from '../../src/dispatch/crypto-dispatch.ts';
import type { BatchJob, Job } from '../../src/dispatch/job.ts';
import type { WorkerPool } from '../../src/dispatch/pool.ts';
import { type BatchResult, batchOps, batchStatuses, responsesFor } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { RequestTrace, type WorkTimes } from '../../src/observe/tracing.ts';
import { createCostMeter } from '../../src/queue/cost-meter.ts';
import { signItem } from '../support/batches.ts';
import { testEngineOptions } from '../support/engines.ts';

const engine = createOpensslEngine(testEngineOptions);
const root = engine.openRoot({ kind: 'memory' });
const key = engine.generate(root, keyTypes.ed25519, 'acme', 'acme/web/key/1');

function poolOf(work: (job: Job) => Promise<unknown>): WorkerPool {
  return {
    ...{ threads: 1, freeSlots: 1, idleThreads: 1, alive: true },
    run: work,
    runAhead: work,
    useRoot: async () => {},
    close: async () => {},
  };
}

const signing = poolOf(async (job) => {
  const { batches } = job as BatchJob;
  const responses = responsesFor(batches);
  for (const [n, request] of batches.entries()) engine.run(root, request, responses[n] as Uint8Array);
  return { responses, busyUs: 1, idleUs: 0, endedAtMs: 0 };
});

const notExpected = (cause: unknown): never => {
  throw cause;
};

function callOf(items: CryptoCall['items']) {
  const outcomes: Result<readonly BatchResult[]>[] = [];
  const meters = items.map(() => createCostMeter(1_000_000));
  const call: CryptoCall = {
    tenant: 'acme',
    callClass: 'sign',
    costUs: 1,
    offeredAtMs: 0,
    deadlineAtMs: 0,
    cancellation: createCancellation(),
    items,
    meters,
    settle: (outcome) => void outcomes.push(outcome),
  };
  return { call, outcomes, meters };
}

test('each call of a job gets the results of its own items, in their order', async () => {
  const messages = Array.from({ length: 7 }, (_, n) => new Uint8Array(32).fill(n));
  const item = (n: number) => signItem(schemes.ed25519, key, messages[n] as Uint8Array);
  const calls = [[0], [1, 2, 3], [4], [5, 6]].map((numbers) => callOf(numbers.map(item)));
  await createBatchCarrier(signing, notExpected).carry(
    calls.map(({ call }) => call),
    1,
    false,
  );
  let n = 0;
  for (const { call, outcomes, meters } of calls) {
    const [outcome] = outcomes;
    assert.equal(outcomes.length, 1);
    assert.ok(outcome?.ok);
    assert.equal(outcome.value.length, call.items.length);
    for (const { status, outputs } of outcome.value) {
      assert.equal(status, batchStatuses.ok);
      const verified = callOf([
        {
          op: batchOps.verify,
          scheme: schemes.ed25519,
          keyNumber: 0,
          key: key.publicKey,
          inputs: [messages[n++] as Uint8Array, ...outputs],
        },
      ]);
      await createBatchCarrier(signing, notExpected).carry([verified.call], 1, true);
      const [verdict] = verified.outcomes;
      assert.equal(verdict?.ok && verdict.value[0]?.status, batchStatuses.ok);
    }
    // Each meter has learned that its item was cheaper than the guess.
    for (const meter of meters) assert.ok(meter.costUs < 1_000_000);
  }
});

test('when a worker dies each of its calls is refused once, and the operator is told', async () => {
  const death = new Error('the worker died');
  const told: unknown[] = [];
  const carrier = createBatchCarrier(
    poolOf(() => Promise.reject(death)),
    (cause) => void told.push(cause),
  );
  const calls = [0, 1, 2].map(() => callOf([signItem(schemes.ed25519, key, new Uint8Array(32))]));
  await carrier.carry(
    calls.map(({ call }) => call),
    1,
    false,
  );
  for (const { outcomes } of calls) {
    assert.deepEqual(outcomes, [{ ok: false, failure: { code: 'Internal' } }]);
  }
  assert.deepEqual(told, [death]);
});

test('what is run on this thread gives the same, and a failure there is told and refuses the calls', () => {
  const told: unknown[] = [];
  const carrierOf = (runBatch: (request: Uint8Array, response: Uint8Array) => void) =>
    createBatchCarrier(signing, (cause) => void told.push(cause), runBatch);
  const calls = [0, 1].map((n) => callOf([signItem(schemes.ed25519, key, new Uint8Array(32).fill(n))]));
  carrierOf((request, response) => engine.run(root, request, response)).runHere?.(
    calls.map(({ call }) => call),
  );
  for (const { outcomes } of calls) {
    assert.equal(outcomes.length, 1);
    assert.equal(outcomes[0]?.ok && outcomes[0].value[0]?.status, batchStatuses.ok);
  }
  const failing = callOf([signItem(schemes.ed25519, key, new Uint8Array(32))]);
  const bug = new Error('the engine threw');
  carrierOf(() => {
    throw bug;
  }).runHere?.([failing.call]);
  assert.deepEqual(failing.outcomes, [{ ok: false, failure: { code: 'Internal' } }]);
  assert.deepEqual(told, [bug]);
});

test('a failure names the requests of its calls, each once', async () => {
  const told: unknown[] = [];
  const carrier = createBatchCarrier(
    poolOf(() => Promise.reject(new Error('the worker died'))),
    (_, requests) => void told.push(...requests),
  );
  const names = (n: number) => ({ requestId: `r${n}`, correlationId: undefined, traceparent: undefined });
  const [one, other] = [1, 2].map((n) => ({ names: () => names(n), trace: undefined }));
  const calls = [one, one, undefined, other].map((request) => ({
    ...callOf([signItem(schemes.ed25519, key, new Uint8Array(32))]).call,
    request,
  }));
  await carrier.carry(calls, 1, false);
  assert.deepEqual(told, [names(1), names(2)]);
});

test('a worker is told names and asked for times only where somebody looks', async () => {
  const jobs: BatchJob[] = [];
  const carrier = createBatchCarrier(
    poolOf((job) => {
      jobs.push(job as BatchJob);
      return signing.run(job, 1);
    }),
    notExpected,
  );
  const names = { requestId: 'r', correlationId: 'c', traceparent: 't' };
  const named = () => names;
  const plain = callOf([signItem(schemes.ed25519, key, new Uint8Array(32))]).call;
  await carrier.carry([{ ...plain, request: { names: named, trace: undefined } }], 1, false);
  assert.deepEqual(Object.keys(jobs[0] as BatchJob), ['kind', 'batches']);
  const trace = new RequestTrace(undefined, { name: '', attributes: {}, traceparent: undefined }, true);
  const times = trace.work('sign', 1) as WorkTimes;
  await carrier.carry([{ ...plain, request: { names: named, trace }, times }], 1, false);
  assert.deepEqual(jobs[1]?.requests, [[names]]);
  assert.ok((times.sentAtMs as number) >= times.queuedAtMs);
});
