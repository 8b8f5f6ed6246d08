import assert from 'node:assert/strict';
import test from 'node:test';
import { LateRefusals } from '../../src/admission/late-refusals.ts';
import { refuse } from '../../src/core/result.ts';

const refused = refuse('Backpressure', 'later', 1_000);

test('a refusal is given when the time that its caller was ready to wait is over', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const late = new LateRefusals();
  let given: unknown;
  const held = late.hold(refused, 250);
  assert.ok(held instanceof Promise);
  void held.then((value) => {
    given = value;
  });
  t.mock.timers.tick(249);
  await Promise.resolve();
  assert.equal(given, undefined);
  assert.equal(late.held, 1);
  t.mock.timers.tick(1);
  await Promise.resolve();
  assert.equal(given, refused);
  assert.equal(late.held, 0);
});

test('nobody waits longer than a second to be refused', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const late = new LateRefusals();
  const held = late.hold(refused, 60_000);
  t.mock.timers.tick(1_000);
  assert.equal(await held, refused);
});

test('of more than 4,096 the others are refused at once', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const late = new LateRefusals();
  for (let n = 0; n < 4_096; n++) assert.ok(late.hold(refused, 250) instanceof Promise);
  assert.equal(late.hold(refused, 250), refused);
  t.mock.timers.tick(250);
  assert.ok(late.hold(refused, 250) instanceof Promise);
});
