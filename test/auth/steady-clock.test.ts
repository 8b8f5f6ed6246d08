import assert from 'node:assert/strict';
import test from 'node:test';
import { whereClockIsSteady } from '../../src/auth/steady-clock.ts';

test('acts where the clock went evenly since the call before, and at no first call', () => {
  let [utcMs, monotonicMs, acted] = [1_000_000, 0, 0];
  const act = whereClockIsSteady({ utcMs: () => utcMs, monotonicMs: () => monotonicMs }, 100, () => {
    acted++;
  });
  const pass = (ms: number, stepMs = 0) => {
    monotonicMs += ms;
    utcMs += ms + stepMs;
    act();
    return acted;
  };
  act();
  assert.equal(acted, 0);
  assert.equal(pass(600_000, 100), 1);
  // A year ahead, and back.
  assert.equal(pass(600_000, 31_536_000_000), 1);
  assert.equal(pass(600_000, -31_536_000_000), 1);
  assert.equal(pass(600_000), 2);
});
