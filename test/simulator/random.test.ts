import assert from 'node:assert/strict';
import test from 'node:test';
import { Random } from '../../bench/simulator/random.ts';

test('the generator gives the published sequence of xoshiro128++', () => {
  // From the state 1, 2, 3, 4; the same values as in the tests of the Rust crate rand_xoshiro.
  const random = new Random([1, 2, 3, 4]);
  const expected = [641, 1573767, 3222811527, 3517856514, 836907274, 4247214768, 3867114732, 1355841295];
  assert.deepEqual(
    expected.map(() => random.word()),
    expected,
  );
});

test('a seed gives the same sequence again, and each of its streams another', () => {
  const words = (seed: number, stream: number) => {
    const random = Random.seeded(seed, stream);
    return Array.from({ length: 8 }, () => random.word()).join();
  };
  assert.equal(words(7, 3), words(7, 3));
  const all = new Set(Array.from({ length: 1000 }, (_, n) => words(n % 10, Math.floor(n / 10))));
  assert.equal(all.size, 1000);
});

test('the distributions have the means that they promise', () => {
  const random = Random.seeded(1, 0);
  const count = 100_000;
  const mean = (draw: () => number) => {
    let sum = 0;
    for (let n = 0; n < count; n++) sum += draw();
    return sum / count;
  };
  // Four standard errors of each mean; the seed is fixed, so this does not fail by chance.
  assert.ok(Math.abs(mean(() => random.uniform()) - 0.5) < (4 * 0.289) / Math.sqrt(count));
  assert.ok(Math.abs(mean(() => random.exponential(3)) - 3) < (4 * 3) / Math.sqrt(count));
  assert.ok(Math.abs(mean(() => random.normal())) < 4 / Math.sqrt(count));
  assert.ok(Math.abs(mean(() => random.logNormal(0.5)) - 1) < (4 * 0.533) / Math.sqrt(count));
  assert.ok(Math.abs(mean(() => random.attempts(0.2)) - 5) < (4 * 4.473) / Math.sqrt(count));
});
