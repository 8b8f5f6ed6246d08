import assert from 'node:assert/strict';
import test from 'node:test';
import { DeferredCalls } from '../../src/admission/flood-guard/deferred-calls.ts';

function deferred() {
  const clock = { nowMs: 0, monotonicMs: () => clock.nowMs };
  const soon: (() => void)[] = [];
  const calls = new DeferredCalls({ clock, soon: (callBack) => void soon.push(callBack) });
  const done: number[] = [];
  /** A call that takes so long once it goes on. */
  const add = (name: number, tookMs = 0.02) =>
    calls.add(() => {
      done.push(name);
      clock.nowMs += tookMs;
    });
  return { calls, soon, done, add, turn: () => soon.shift()?.() };
}

test('calls go on in their order, as many in a turn as have room in it, and at least one', () => {
  const { soon, done, add, turn } = deferred();
  for (let n = 0; n < 30; n++) assert.equal(add(n), true);
  assert.equal(soon.length, 1);
  turn();
  assert.equal(done.length, 13);
  turn();
  turn();
  assert.deepEqual(
    done,
    Array.from({ length: 30 }, (_, n) => n),
  );
  assert.equal(soon.length, 0);
  add(31, 5);
  add(32, 5);
  turn();
  assert.equal(done.at(-1), 31);
  turn();
  assert.equal(done.at(-1), 32);
});

test('of more than 256 the others are not taken, until some went on', () => {
  const { calls, add, turn } = deferred();
  for (let n = 0; n < 256; n++) assert.equal(add(n), true);
  assert.equal(add(256), false);
  assert.equal(calls.waiting, 256);
  turn();
  assert.equal(add(257), true);
});

test('a call that puts off another does not lose it', () => {
  const { calls, soon, turn } = deferred();
  let second = false;
  calls.add(() => {
    calls.add(() => {
      second = true;
    });
  });
  turn();
  while (soon.length > 0) turn();
  assert.equal(second, true);
  assert.equal(calls.waiting, 0);
});
