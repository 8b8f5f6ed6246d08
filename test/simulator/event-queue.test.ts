import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { EventQueue } from '../../bench/simulator/event-queue.ts';

test('events come in order of time, and those of one time in the order in which they were added', () => {
  // 'take' as often as possible between additions, and times that often fall together.
  const steps = fc.array(fc.oneof(fc.nat(20), fc.constant('take' as const)), { maxLength: 3000 });
  fc.assert(
    fc.property(steps, (sequence) => {
      const queue = new EventQueue();
      const model: { time: number; event: number }[] = [];
      let event = 0;
      for (const step of sequence) {
        if (step !== 'take') {
          const at = model.findIndex(({ time }) => time > step);
          model.splice(at === -1 ? model.length : at, 0, { time: step, event });
          queue.add(step, event++);
        } else if (model.length > 0) {
          assert.equal(queue.nextTime, model[0]?.time);
          assert.equal(queue.take(), model.shift()?.event);
        }
        assert.equal(queue.size, model.length);
      }
      for (const expected of model) assert.equal(queue.take(), expected.event);
      assert.equal(queue.nextTime, undefined);
    }),
    { seed: 11, numRuns: 100 },
  );
});
