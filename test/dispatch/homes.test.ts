import assert from 'node:assert/strict';
import test from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Result } from '../../src/core/result.ts';
import { createCostTable } from '../../src/dispatch/costs.ts';
import { createBatchCarrier, createCryptoDispatch } from '../../src/dispatch/crypto-dispatch.ts';
import { createHomeLane } from '../../src/dispatch/home-lane.ts';
import type { BatchJob, BatchJobAnswer, Job } from '../../src/dispatch/job.ts';
import type { BatchWork, WorkItem } from '../../src/dispatch/work.ts';
import { type BatchResult, batchOps, batchStatuses, responsesFor } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { createCostMeter } from '../../src/queue/cost-meter.ts';
import { signItem, tenant, verifyOne } from '../support/batches.ts';
import { testEngineOptions } from '../support/engines.ts';
import { MemoryHome } from '../support/memory-home.ts';

const ed25519 = findAlgorithm('ed25519')!;
const engine = createOpensslEngine(testEngineOptions);
const root = engine.openRoot({ kind: 'memory' });
const ownKey = engine.generate(root, keyTypes.ed25519, tenant, 'acme/web/key/1');
const maxWaiting = 4;

const ownPool = {
  threads: 1,
  freeSlots: 1,
  idleThreads: 1,
  alive: true,
  useRoot: async () => {},
  close: async () => {},
  run: async (job: Job) => answer(job as BatchJob),
  runAhead: async (job: Job) => answer(job as BatchJob),
};

const notExpected = (cause: unknown): never => {
  throw cause;
};

function answer({ batches }: BatchJob): BatchJobAnswer {
  const responses = responsesFor(batches);
  for (const [n, request] of batches.entries()) engine.run(root, request, responses[n] as Uint8Array);
  return { responses, busyUs: 1, idleUs: 0, endedAtMs: 0 };
}

async function setUp(...names: readonly string[]) {
  const settings = {
    perTenantCalls: maxWaiting,
    totalCalls: maxWaiting,
    deadlineMs: 60_000,
    jobBudgetUs: 1,
    jobMaxCalls: 1,
  };
  const laneOf = (carrier: ReturnType<typeof createBatchCarrier>) => {
    const lane = createHomeLane(settings, { carrier, clock: systemClock });
    return { quick: lane, slow: lane };
  };
  const homes = names.map((name) => new MemoryHome(name));
  const keys = await Promise.all(
    homes.map(async (home) => {
      const kid = 'acme/p/ed25519/x#v1';
      const made = await home.generate(ed25519, tenant, kid);
      assert.ok(made.ok);
      const [part] = made.value;
      return { publicKey: part!.publicKey, key: home.keyReference(part!, 0, tenant, kid) };
    }),
  );
  const dispatch = createCryptoDispatch(
    laneOf(createBatchCarrier(ownPool, notExpected)),
    (of) => of,
    new Map(homes.map((home) => [home.backend, laneOf(home)])),
  );
  const runAll = (works: readonly BatchWork[]) =>
    dispatch.runAll(works, {
      tenant,
      offeredAtMs: systemClock.monotonicMs(),
      deadlineAtMs: systemClock.monotonicMs() + 60_000,
      cancellation: createCancellation(),
    });
  return { homes, keys, runAll };
}

function workOf(items: readonly WorkItem[]): BatchWork {
  return { kind: 'sign', items, meters: items.map(() => createCostMeter(100)) };
}

function ownItem(message: Uint8Array): WorkItem {
  return { ...signItem(schemes.ed25519, ownKey, message), home: 'software' };
}

function itemIn(home: string, key: Uint8Array, message: Uint8Array): WorkItem {
  return { op: batchOps.sign, scheme: schemes.ed25519, keyNumber: 0, key, inputs: [message], home };
}

function assertSigned(
  outcome: Result<readonly BatchResult[]> | undefined,
  by: Uint8Array[],
  texts: Uint8Array[],
) {
  assert.ok(outcome?.ok);
  assert.equal(outcome.value.length, by.length);
  for (const [n, { status, outputs }] of outcome.value.entries()) {
    assert.equal(status, batchStatuses.ok);
    const good = verifyOne(engine, root, schemes.ed25519, by[n]!, texts[n]!, outputs[0]!);
    assert.equal(good, batchStatuses.ok, `signature ${n}`);
  }
}

const texts = Array.from({ length: 12 }, (_, n) => new Uint8Array(32).fill(n));

test('a home that does not answer fills its own lane, and nothing else', async () => {
  const { homes, keys, runAll } = await setUp('slow', 'other');
  const [slow, other] = homes as [MemoryHome, MemoryHome];
  const gate = Promise.withResolvers<void>();
  slow.beforeJob = () => gate.promise;
  const asked = texts.map((text) => runAll([workOf([itemIn('slow', keys[0]!.key, text)])]));
  const refused = asked.slice(maxWaiting);
  for (const [outcome] of await Promise.all(refused))
    assert.equal(outcome?.ok === false && outcome.failure.code, 'Backpressure');

  for (const text of texts) {
    const [[own], [others]] = await Promise.all([
      runAll([workOf([ownItem(text)])]),
      runAll([workOf([itemIn('other', keys[1]!.key, text)])]),
    ]);
    assertSigned(own, [ownKey.publicKey], [text]);
    assertSigned(others, [keys[1]!.publicKey], [text]);
  }
  assert.equal(slow.carried.length, 0);
  assert.equal(other.carried.length, texts.length);

  gate.resolve();
  const late = await Promise.all(asked.slice(0, maxWaiting));
  for (const [n, [outcome]] of late.entries()) assertSigned(outcome, [keys[0]!.publicKey], [texts[n]!]);
});

test('a work with keys of several homes has its results in the order of its items', async () => {
  const { keys, runAll } = await setUp('one', 'two');
  const [one, two] = keys as [(typeof keys)[0], (typeof keys)[0]];
  const mixed = (first: number) =>
    workOf([
      itemIn('one', one.key, texts[first]!),
      ownItem(texts[first + 1]!),
      itemIn('two', two.key, texts[first + 2]!),
      itemIn('one', one.key, texts[first + 3]!),
    ]);
  const signers = [one.publicKey, ownKey.publicKey, two.publicKey, one.publicKey];
  const [alone] = await runAll([mixed(0)]);
  assertSigned(alone, signers, texts.slice(0, 4));

  const outcomes = await runAll([mixed(0), workOf([]), workOf([ownItem(texts[9]!)]), mixed(4)]);
  assertSigned(outcomes[0], signers, texts.slice(0, 4));
  assert.deepEqual(outcomes[1], { ok: true, value: [] });
  assertSigned(outcomes[2], [ownKey.publicKey], [texts[9]!]);
  assertSigned(outcomes[3], signers, texts.slice(4, 8));
});

test('a home that refuses its items refuses the whole work, and a name that is no home refuses at once', async () => {
  const { homes, keys, runAll } = await setUp('slow');
  const gate = Promise.withResolvers<void>();
  homes[0]!.beforeJob = () => gate.promise;
  const { key } = keys[0]!;
  const waiting = texts.slice(0, maxWaiting).map((text) => runAll([workOf([itemIn('slow', key, text)])]));
  const outcomes = await runAll([
    workOf([ownItem(texts[0]!), itemIn('slow', key, texts[1]!)]),
    workOf([ownItem(texts[2]!)]),
    workOf([itemIn('gone', key, texts[3]!)]),
  ]);
  const codes = outcomes.map((outcome) => (outcome.ok ? 'ok' : outcome.failure.code));
  assert.deepEqual(codes, ['Backpressure', 'ok', 'StoreUnavailable']);
  assert.deepEqual(await runAll([workOf([])]), [{ ok: true, value: [] }]);
  gate.resolve();
  await Promise.all(waiting);
});

test('each home has meters of its own: a slow one does not make the work of others dear', () => {
  const costs = createCostTable([ed25519]);
  const [{ schemes: ways }] = ed25519.components;
  const meter = (home: string) => costs.meterOf(ways[0], 'sign', 32, home);
  const before = meter('software').costUs;
  for (let n = 0; n < 100; n++) meter('slow').observe(2_000);
  assert.equal(meter('software').costUs, before);
  assert.ok(meter('slow').costUs > 10 * before);
  assert.equal(meter('slow'), meter('slow'));
});
