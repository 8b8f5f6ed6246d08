import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { createCancellation } from '../../src/core/cancellation.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Result } from '../../src/core/result.ts';
import { type CryptoCall, createBatchCarrier } from '../../src/dispatch/crypto-dispatch.ts';
import { createForgottenRing } from '../../src/dispatch/forgotten.ts';
import { jobsPerThread, startWorkerPool } from '../../src/dispatch/pool.ts';
import { type BatchResult, batchOps } from '../../src/engine/batch.ts';
import { type Engine, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { Lane } from '../../src/queue/lane.ts';
import { availableEngines, testEngineOptions } from '../support/engines.ts';

/** As in dying-worker.ts, which a main thread cannot import. */
const exits = Buffer.from('the thread ends');
const threads = 2;

for (const { name, create } of availableEngines()) {
  test(`${name}: a worker that dies fails the calls that it had, and only those; the next ones are served`, async (context) => {
    const { sign, crashes, pool } = await start(context, name, create);
    assert.deepEqual(await sign(Buffer.from('before')), 'signed');
    for (let round = 1; round <= 3; round++) {
      const dying = sign(exits);
      const others = await Promise.all(Array.from({ length: 40 }, (_, n) => sign(Buffer.from(`m${n}`))));
      assert.equal(await dying, 'Internal');
      assert.ok(others.every((outcome) => outcome === 'signed' || outcome === 'Internal'));
      assert.ok(crashes.length >= round, 'the operator is told');
      const after = await Promise.all(Array.from({ length: 40 }, (_, n) => sign(Buffer.from(`n${n}`))));
      assert.deepEqual(new Set(after), new Set(['signed']));
    }
    assert.equal(pool.alive, true);
    assert.equal(pool.freeSlots, threads * jobsPerThread, 'no place is lost');
    assert.equal(pool.idleThreads, threads);
  });

  test(`${name}: all workers at once, with everything queued`, async (context) => {
    const { sign, lane } = await start(context, name, create);
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, (_, n) => sign(n % 20 === 0 ? exits : Buffer.from(`m${n}`))),
    );
    assert.ok(outcomes.every((outcome) => outcome === 'signed' || outcome === 'Internal'));
    assert.equal(await sign(Buffer.from('after')), 'signed');
    await lane.drained();
  });

  for (const [how, value] of [
    ['throws', 1],
    ['exits', 2],
  ] as const) {
    test(`${name}: a worker whose replacement ${how} while it loads: calls are refused at once, none hangs`, async (context) => {
      const { sign, broken, pool, lane } = await start(context, name, create);
      Atomics.store(new Int32Array(broken), 0, value);
      const waiting = Array.from({ length: 60 }, (_, n) => sign(n % 8 === 0 ? exits : Buffer.from(`m${n}`)));
      while (pool.freeSlots > 0) await sign(exits);
      await Promise.all(waiting);
      assert.equal(pool.alive, false);
      assert.deepEqual(
        new Set(await Promise.all(Array.from({ length: 20 }, (_, n) => sign(Buffer.from(`m${n}`))))),
        new Set(['Internal']),
      );
      await lane.drained();
      assert.equal(pool.freeSlots, 0);
      assert.equal(pool.idleThreads, threads, 'or calls would wait for a worker that will not come');
    });
  }
}

async function start(context: TestContext, name: 'native' | 'openssl', create: () => Engine) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  const crashes: unknown[] = [];
  const onCrash = (cause: unknown) => void crashes.push(cause);
  const broken = new SharedArrayBuffer(4);
  const data = {
    engine: name,
    options: testEngineOptions,
    root,
    forgotten: createForgottenRing(),
    niceness: 0,
    broken,
  };
  const pool = await startWorkerPool(threads, data, {
    onCrash,
    worker: new URL('./dying-worker.ts', import.meta.url),
  });
  context.after(() => pool.close());
  const lane = new Lane<readonly BatchResult[], CryptoCall>(
    {
      limits: { perTenantCalls: 1_000, perTenantCostUs: 1e9, totalCalls: 1_000, quantumUs: 300 },
      jobBudgetUs: 300,
      soloBudgetUs: 1_000,
      jobMaxCalls: 8,
      readyLeastUs: 150,
      readyMostUs: 8_000,
      queueTargetMs: 60_000,
      runHereUpToUs: 0,
    },
    { carrier: createBatchCarrier(pool, onCrash), clock: systemClock },
  );
  const made = engine.generate(root, keyTypes.ed25519, 't', 'aad');
  const key = buildKeyReference('t', 'aad', made.sealed);

  async function sign(message: Uint8Array): Promise<string> {
    const nowMs = systemClock.monotonicMs();
    const outcome = await new Promise<Result<readonly BatchResult[]>>((settle) => {
      const offered = lane.offer({
        tenant: 't',
        callClass: 'sign',
        costUs: 50,
        offeredAtMs: nowMs,
        deadlineAtMs: nowMs + 60_000,
        cancellation: createCancellation(),
        items: [{ op: batchOps.sign, scheme: schemes.ed25519, keyNumber: 0, key, inputs: [message] }],
        meters: [],
        settle,
      });
      if (!offered.ok) settle(offered);
    });
    if (!outcome.ok) return outcome.failure.code;
    return outcome.value[0]?.status === 0 ? 'signed' : 'unsigned';
  }
  return { sign, crashes, pool, lane, broken };
}
