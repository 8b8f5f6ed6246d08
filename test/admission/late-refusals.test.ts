import assert from 'node:assert/strict';
import test from 'node:test';
import { LateRefusals } from '../../src/admission/flood-guard/late-refusals.ts';
import { cancel, createCancellation } from '../../src/core/cancellation.ts';
import { refuse } from '../../src/core/result.ts';

const refused = refuse('Backpressure', 'later', 1_000);

for (const [afterMs, heldMs, what] of [
  [250, 250, 'when the time that its caller is ready to wait is over'],
  [60_000, 1_000, 'after a second at the latest'],
  [1, 50, 'after 50 ms at the soonest, whatever its caller wishes'],
] as const) {
  test(`a refusal is given ${what}`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const late = new LateRefusals();
    let given: unknown;
    const held = late.hold(refused, afterMs, createCancellation());
    assert.ok(held instanceof Promise);
    void held.then((value) => {
      given = value;
    });
    t.mock.timers.tick(heldMs - 1);
    await Promise.resolve();
    assert.equal(given, undefined);
    assert.equal(late.held, 1);
    t.mock.timers.tick(1);
    await Promise.resolve();
    assert.equal(given, refused);
    assert.equal(late.held, 0);
  });
}

test('of more than 4,096 the others are refused at once', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const late = new LateRefusals();
  for (let n = 0; n < 4_096; n++) assert.ok(late.hold(refused, 250, createCancellation()) instanceof Promise);
  assert.equal(late.hold(refused, 250, createCancellation()), refused);
  t.mock.timers.tick(250);
  assert.ok(late.hold(refused, 250, createCancellation()) instanceof Promise);
});

test('refusals of one burst are answered a few in a turn, so that they do not come again together', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const late = new LateRefusals();
  for (let n = 0; n < 100; n++) late.hold(refused, 250, createCancellation());
  t.mock.timers.tick(250);
  assert.equal(late.held, 92);
  t.mock.timers.tick(1);
  assert.equal(late.held, 84);
  for (let ms = 0; ms < 11; ms++) t.mock.timers.tick(1);
  assert.equal(late.held, 0);
});

test('a caller that goes gives its place free, once', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const late = new LateRefusals();
  const cancellation = createCancellation();
  const held = late.hold(refused, 250, cancellation);
  cancel(cancellation);
  assert.equal(await held, refused);
  assert.equal(late.held, 0);
  t.mock.timers.tick(250);
  assert.equal(late.held, 0);
});
