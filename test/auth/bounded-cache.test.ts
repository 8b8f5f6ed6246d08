import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { BoundedCache } from '../../src/auth/macaroon/bounded-cache.ts';

test('the cache keeps the entries used last and never more than twice as many', () => {
  const kept = 8;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 300 }), (uses) => {
      const cache = new BoundedCache<number>(kept);
      const recent: number[] = [];
      for (const use of uses) {
        const found = cache.get(`k${use}`);
        if (recent.includes(use)) assert.equal(found, use);
        else if (found !== undefined) assert.equal(found, use);
        if (found === undefined) cache.set(`k${use}`, use);
        if (recent.includes(use)) recent.splice(recent.indexOf(use), 1);
        recent.push(use);
        if (recent.length > kept) recent.shift();
        assert.ok(cache.size <= 2 * kept);
      }
    }),
  );
});

test('a million distinct keys leave the bound', () => {
  const cache = new BoundedCache<true>(1_000);
  for (let index = 0; index < 1_000_000; index++) cache.set(String(index), true);
  assert.ok(cache.size <= 2_000);
  assert.equal(cache.get('999999'), true);
  assert.equal(cache.get('0'), undefined);
});
