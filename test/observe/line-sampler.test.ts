import assert from 'node:assert/strict';
import test from 'node:test';
import { LineSampler } from '../../src/observe/line-sampler.ts';

/** What `take` says of so many events of a kind, at these milliseconds. */
function events(sampler: LineSampler, kind: string, count: number, atMs: number) {
  return Array.from({ length: count }, () => sampler.take(kind, atMs));
}

test('the first ten of a second have a line, and of further ones every thousandth, which counts those between', () => {
  const taken = events(new LineSampler(), 'Backpressure', 2_010, 5_000);
  assert.deepEqual(taken.slice(0, 11), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, undefined]);
  assert.deepEqual(
    taken.flatMap((leftOut, index) => (leftOut === undefined || index < 10 ? [] : [[index, leftOut]])),
    [
      [1_009, 999],
      [2_009, 999],
    ],
  );
});

test('each second begins anew, and its first line counts what the one before left out', () => {
  const sampler = new LineSampler();
  events(sampler, 'RateLimited', 25, 1_999.9);
  assert.deepEqual(events(sampler, 'RateLimited', 2, 2_000), [15, 0]);
});

test('a kind that is frequent takes no lines from another', () => {
  const sampler = new LineSampler();
  events(sampler, 'Backpressure', 5_000, 0);
  assert.equal(sampler.take('Unauthenticated', 0), 0);
});

test('lines and the counts in them add up to the events', () => {
  const sampler = new LineSampler();
  let told = 0;
  let lines = 0;
  for (let n = 0; n < 30_000; n++) {
    const leftOut = sampler.take('x', n / 10);
    if (leftOut === undefined) continue;
    lines++;
    told += 1 + leftOut;
  }
  told += sampler.take('x', 1e9) ?? 0;
  assert.equal(told, 30_000);
  assert.ok(lines <= 3 * (10 + 10), String(lines));
});
