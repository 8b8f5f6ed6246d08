import assert from 'node:assert/strict';
import test from 'node:test';
import { latencyBucketsSeconds } from '../../src/observe/latency-histogram.ts';
import { createMetrics, registerProcessMetrics } from '../../src/observe/metrics.ts';

/** The samples of one exposition by their full name, `name{labels}`. */
async function samples(metrics: ReturnType<typeof createMetrics>): Promise<Map<string, number>> {
  const lines = (await metrics.exposition(() => true))
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(' ');
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

test('an operation is counted by its outcome, and its time lands in the right bucket', async () => {
  const metrics = createMetrics('seal-1');
  const sign = metrics.operation('sign', 'ed25519');
  sign.done('ok', 0.000_04);
  sign.done('ok', 0.000_05);
  sign.done('Backpressure', 0.3);
  sign.done('ok', 60);
  const found = await samples(metrics);
  assert.equal(found.get('kms_ops_total{op="sign",alg="ed25519",result="ok"}'), 3);
  assert.equal(found.get('kms_ops_total{op="sign",alg="ed25519",result="Backpressure"}'), 1);
  const bucket = (le: string) => found.get(`kms_latency_seconds_bucket{op="sign",alg="ed25519",le="${le}"}`);
  assert.deepEqual(
    [bucket('0.00005'), bucket('0.25'), bucket('0.5'), bucket('10'), bucket('+Inf')],
    [2, 2, 3, 3, 4],
  );
  assert.equal(found.get('kms_latency_seconds_count{op="sign",alg="ed25519"}'), 4);
  assert.ok(
    Math.abs((found.get('kms_latency_seconds_sum{op="sign",alg="ed25519"}') ?? 0) - 60.300_09) < 1e-9,
  );
});

test('a second scrape shows the same counts and not twice as many', async () => {
  const metrics = createMetrics('seal-1');
  metrics.operation('verify', 'ml-dsa-65').done('ok', 0.001);
  metrics.rejected('backpressure');
  metrics.authFailed();
  const first = await samples(metrics);
  const second = await samples(metrics);
  for (const name of first.keys()) {
    if (name.startsWith('kms_') || name.startsWith('auth_'))
      assert.equal(second.get(name), first.get(name), name);
  }
  assert.equal(second.get('kms_reject_total{reason="backpressure"}'), 1);
  assert.equal(second.get('auth_failures_total{service="seal-1"}'), 1);
});

test('the same operation is one series, whoever asks for it', () => {
  const metrics = createMetrics('seal-1');
  assert.equal(metrics.operation('sign', 'ed25519'), metrics.operation('sign', 'ed25519'));
  assert.notEqual(metrics.operation('sign', 'ed25519'), metrics.operation('verify', 'ed25519'));
});

test('keys are counted by tenant, purpose and algorithm as they are at the scrape', async () => {
  const metrics = createMetrics('seal-1');
  const acme = { tenant: 'acme', purpose: 'signing', alg: 'ed25519' };
  let counts = [{ ...acme, count: 2 }];
  metrics.keyCounts(() => counts);
  const name = 'kms_keys_total{tenant="acme",purpose="signing",alg="ed25519"}';
  assert.equal((await samples(metrics)).get(name), 2);
  counts = [{ ...acme, count: 1 }];
  assert.equal((await samples(metrics)).get(name), 1);
  counts = [];
  assert.equal((await samples(metrics)).has(name), false);
});

test('queue depth is read at the scrape, and the engine is named', async () => {
  const metrics = createMetrics('seal-1');
  let depth = 3;
  metrics.queueDepth(() => depth);
  metrics.engine('native');
  metrics.engine('openssl');
  assert.equal((await samples(metrics)).get('kms_queue_depth'), 3);
  depth = 4;
  const found = await samples(metrics);
  assert.equal(found.get('kms_queue_depth'), 4);
  assert.equal(found.get('kms_engine_info{engine="openssl"}'), 1);
  assert.equal(found.has('kms_engine_info{engine="native"}'), false);
});

test('the number of series is bounded, and what is beyond is counted under other', async () => {
  const metrics = createMetrics('seal-1');
  for (let index = 0; index < 5_000; index++) {
    metrics.operation(`op${index}`, 'none').done('ok', 0.001);
    metrics.rejected(`reason${index}`);
  }
  for (let index = 0; index < 2_000; index++) metrics.operation('op0', 'none').done(`result${index}`, 0.001);
  const found = await samples(metrics);
  const seriesOf = (name: string) => [...found].filter(([full]) => full.startsWith(`${name}{`));
  for (const name of ['kms_ops_total', 'kms_reject_total', 'kms_latency_seconds_count']) {
    assert.ok(seriesOf(name).length <= 1_001, name);
  }
  const total = (name: string) => seriesOf(name).reduce((sum, [, value]) => sum + value, 0);
  const names = ['kms_ops_total', 'kms_reject_total', 'kms_latency_seconds_count'];
  assert.deepEqual(names.map(total), [7_000, 5_000, 7_000]);
});

test('two services in one process count apart, and the process has its own metrics', async () => {
  const [one, other] = [createMetrics('seal-1'), createMetrics('seal-1')];
  one.authFailed();
  assert.equal((await samples(other)).get('auth_failures_total{service="seal-1"}'), 0);
  assert.ok(!(await samples(one)).has('process_resident_memory_bytes'));
  registerProcessMetrics(one);
  assert.ok((await samples(one)).has('process_resident_memory_bytes'));
  assert.match(one.contentType, /^text\/plain; version=0\.0\.4/);
});

test('the buckets ascend', () => {
  const ascending = [...latencyBucketsSeconds].sort((left, right) => left - right);
  assert.deepEqual(latencyBucketsSeconds, ascending);
});
