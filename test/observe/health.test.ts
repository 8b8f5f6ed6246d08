import assert from 'node:assert/strict';
import test from 'node:test';
import { createHealth } from '../../src/observe/health.ts';

test('without conditions the service is ready', () => {
  assert.deepEqual(createHealth().readiness(), { ready: true, missing: [], degraded: [] });
});

test('a required condition that does not hold is missing, a wanted one degrades', () => {
  const health = createHealth();
  let store = false;
  health.condition('store', 'required', () => store);
  health.condition('engine', 'required', () => false);
  health.condition('memory_unlocked', 'wanted', () => false);
  health.condition('draining', 'required', () => true);
  assert.deepEqual(health.readiness(), {
    ready: false,
    missing: ['engine', 'store'],
    degraded: ['memory_unlocked'],
  });
  store = true;
  assert.deepEqual(health.readiness().missing, ['engine']);
});

test('a degraded service is ready', () => {
  const health = createHealth();
  health.condition('memory_unlocked', 'wanted', () => false);
  assert.deepEqual(health.readiness(), { ready: true, missing: [], degraded: ['memory_unlocked'] });
});

test('a condition can be taken back, and its name used again', () => {
  const health = createHealth();
  const remove = health.condition('store', 'required', () => false);
  assert.throws(() => health.condition('store', 'wanted', () => true));
  remove();
  assert.ok(health.readiness().ready);
  health.condition('store', 'required', () => true);
});
