import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { BoundedCache } from '../../src/core/bounded-cache.ts';

type Call = readonly ['get' | 'set' | 'delete' | 'clear', number];

const calls = fc.array(
  fc.tuple(
    fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom('get' as const, 'set' as const) },
      { weight: 2, arbitrary: fc.constant('delete' as const) },
      { weight: 1, arbitrary: fc.constant('clear' as const) },
    ),
    fc.integer({ min: 0, max: 30 }),
  ),
  { maxLength: 300 },
);

test('the cache holds at most its capacity, gives only what was set last, and tells of every value that leaves once', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), calls, (capacity, made: readonly Call[]) => {
      const left: number[] = [];
      const cache = new BoundedCache<number, number>(capacity, (value) => left.push(value));
      const last = new Map<number, number>();
      let value = 0;
      for (const [call, key] of made) {
        if (call === 'get') {
          const found = cache.get(key);
          if (found !== undefined) assert.equal(found, last.get(key));
        } else if (call === 'set') {
          cache.set(key, ++value);
          last.set(key, value);
          assert.equal(cache.get(key), value);
        } else if (call === 'delete') {
          cache.delete(key);
          assert.equal(cache.get(key), undefined);
        } else {
          cache.clear();
          assert.equal(cache.size, 0);
        }
        assert.ok(cache.size <= capacity);
        assert.equal(new Set(left).size, left.length);
        assert.equal(left.length + cache.size, value);
      }
    }),
  );
});

test('what is in use stays while others pass through', () => {
  const cache = new BoundedCache<string, true>(8);
  for (let n = 0; n < 4; n++) cache.set(`used ${n}`, true);
  for (let n = 0; n < 10_000; n++) {
    for (let used = 0; used < 4; used++) assert.equal(cache.get(`used ${used}`), true, `after ${n}`);
    cache.set(`passing ${n}`, true);
  }
});

test('what was never asked for again goes before what was', () => {
  const cache = new BoundedCache<number, number>(1_000);
  for (let n = 0; n < 1_000; n++) cache.set(n, n);
  for (let n = 0; n < 1_000; n += 2) cache.get(n);
  for (let n = 1_000; n < 1_500; n++) cache.set(n, n);
  for (let n = 0; n < 1_000; n++) assert.equal(cache.get(n), n % 2 === 0 ? n : undefined);
});

test('where all are in use one goes all the same', () => {
  for (const capacity of [1, 2, 255, 256, 257, 258, 10_000]) {
    const cache = new BoundedCache<number, number>(capacity);
    for (let n = 0; n < capacity; n++) cache.set(n, n);
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < capacity + round; n++) cache.get(n);
      cache.set(capacity + round, 0);
      assert.equal(cache.size, capacity);
      assert.equal(cache.get(capacity + round), 0);
    }
  }
});

test('a replaced value leaves, the same value set again does not', () => {
  const left: string[] = [];
  const cache = new BoundedCache<number, string>(2, (value) => left.push(value));
  cache.set(1, 'a');
  cache.set(1, 'a');
  cache.set(1, 'b');
  assert.deepEqual(left, ['a']);
});
