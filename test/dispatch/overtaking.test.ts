import assert from 'node:assert/strict';
import test from 'node:test';
import { hrtimeMs } from '../../src/core/clock.ts';
import { createForgottenRing } from '../../src/dispatch/forgotten.ts';
import type { BatchJob, BatchJobAnswer } from '../../src/dispatch/job.ts';
import { startWorkerPool } from '../../src/dispatch/pool.ts';
import { encodeBatch } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { signItem } from '../support/batches.ts';
import { testEngineOptions } from '../support/engines.ts';

const engine = createOpensslEngine(testEngineOptions);
const root = engine.openRoot({ kind: 'memory' });
const key = engine.generate(root, keyTypes.ed25519, 'acme', 'acme/web/key/1');

/** Batches of one signature, between which a worker looks. */
function jobOf(batches: number): BatchJob {
  const item = signItem(schemes.ed25519, key, new Uint8Array(32));
  return { kind: 'batch', batches: Array.from({ length: batches }, () => encodeBatch([item])) };
}

test('jobs overtake what lies ready at a worker, as many as there are, and a worker that sleeps wakes for them', async (t) => {
  const pool = await startWorkerPool(1, {
    engine: 'openssl',
    options: testEngineOptions,
    root,
    forgotten: createForgottenRing(),
    niceness: 0,
  });
  t.after(() => pool.close());
  // Nothing lies ready: it sleeps.
  assert.equal(((await pool.runAhead(jobOf(1), 1)) as BatchJobAnswer).responses.length, 1);
  const order: string[] = [];
  const told = (name: string, answer: Promise<unknown>) => answer.then(() => order.push(name));
  const ready = [0, 1, 2].map(() => told('ready', pool.run(jobOf(400), 1)));
  // More than the places that a worker has.
  const ahead: Promise<unknown>[] = [];
  for (let n = 0; n < 60; n++) ahead.push(told('ahead', pool.runAhead(jobOf(1), 1)));
  await Promise.all([...ready, ...ahead]);
  assert.equal(order.filter((name) => name === 'ahead').length, 60);
  assert.ok(order.indexOf('ahead') < order.lastIndexOf('ready'));
  assert.equal(pool.idleThreads, 1);
});

test('a worker says when each batch began and ended where the job names its requests, also of those that overtake', async (t) => {
  const pool = await startWorkerPool(1, {
    engine: 'openssl',
    options: testEngineOptions,
    root,
    forgotten: createForgottenRing(),
    niceness: 0,
  });
  t.after(() => pool.close());
  const names = { requestId: 'the-request', correlationId: undefined, traceparent: '00-1-2-01' };
  const requests = [[names], []];
  const beforeMs = hrtimeMs();
  for (const way of ['run', 'runAhead'] as const) {
    const plain = (await pool[way](jobOf(2), 1)) as BatchJobAnswer;
    assert.equal(plain.times, undefined);
    const { times = [] } = (await pool[way]({ ...jobOf(2), requests }, 1)) as BatchJobAnswer;
    assert.equal(times.length, 2);
    let lastMs = beforeMs;
    for (const { beganAtMs, endedAtMs } of times) {
      assert.ok(lastMs <= beganAtMs && beganAtMs < endedAtMs && endedAtMs <= hrtimeMs());
      lastMs = endedAtMs;
    }
  }
  const [whole] = jobOf(1).batches as [Uint8Array];
  const broken: BatchJob = { kind: 'batch', batches: [whole.slice(0, 12)], requests };
  await assert.rejects(pool.run(broken, 1), /requests the-request 00-1-2-01$/);
});
