import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  announceForgotten,
  createForgottenReader,
  createForgottenRing,
} from '../../src/dispatch/forgotten.ts';

test('each reader hears of each number once, in order, or is told to forget all', () => {
  fc.assert(
    fc.property(
      // How many numbers are announced between two looks of each of two readers.
      fc.array(fc.tuple(fc.nat(1_500), fc.boolean(), fc.boolean()), { maxLength: 12, size: 'max' }),
      (steps) => {
        const ring = createForgottenRing();
        const readers = [0, 1].map(() => {
          const heard: number[] = [];
          const state = { heard, all: 0, since: 0 };
          const read = createForgottenReader(
            ring,
            (keyNumber) => void heard.push(keyNumber),
            () => void state.all++,
          );
          return { state, read };
        });
        let last = 0;
        for (const [count, ...looks] of steps) {
          for (let n = 0; n < count; n++) announceForgotten(ring, ++last);
          for (const [index, { state, read }] of readers.entries()) {
            if (looks[index] === false) continue;
            const before = { heard: state.heard.length, all: state.all };
            read();
            const missed = last - state.since;
            if (missed >= 1024) assert.equal(state.all, before.all + 1);
            else {
              assert.equal(state.all, before.all);
              assert.deepEqual(
                state.heard.slice(before.heard),
                Array.from({ length: missed }, (_, n) => state.since + n + 1),
              );
            }
            state.since = last;
            read();
            assert.ok(state.all - before.all <= 1);
          }
        }
      },
    ),
    { numRuns: 100 },
  );
});
