import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  archivedSince,
  type LifecycleState,
  lifecycleOf,
  lifecycleStates,
  usualGraceMs,
} from '../../src/keys/lifecycle/states.ts';

const times = fc.integer({ min: 0, max: 2 ** 45 });
const graces = fc.integer({ min: 0, max: 10 * usualGraceMs });
const heads = fc.record(
  {
    state: fc.constantFrom('active' as const, 'destroyed' as const),
    currentVersion: fc.integer({ min: 1, max: 3 }),
    validUntilMs: times,
  },
  { requiredKeys: ['state', 'currentVersion'] },
);
const versions = fc.record(
  {
    version: fc.integer({ min: 1, max: 3 }),
    state: fc.constantFrom('active' as const, 'destroyed' as const),
    createdAtMs: times,
    replacedAtMs: times,
    archivedAtMs: times,
  },
  { requiredKeys: ['version', 'state', 'createdAtMs'] },
);
const moments = fc.record({ head: heads, version: versions, nowMs: times, graceMs: graces });

/** Time alone leads along these, and never back. */
const order: readonly LifecycleState[] = ['active', 'pending_rotation', 'archived', 'destroyed'];

test('every version has one of four states, and time alone never leads back', () => {
  fc.assert(
    fc.property(moments, times, ({ head, version, nowMs, graceMs }, laterMs) => {
      const state = lifecycleOf(head, version, nowMs, graceMs);
      assert.ok(lifecycleStates.includes(state));
      const later = lifecycleOf(head, version, nowMs + laterMs, graceMs);
      assert.ok(order.indexOf(later) >= order.indexOf(state), `${state} became ${later}`);
      if (state === 'destroyed') assert.equal(later, 'destroyed');
    }),
  );
});

test('what is destroyed is so whatever else is said of it, and only then', () => {
  fc.assert(
    fc.property(moments, ({ head, version, nowMs, graceMs }) => {
      const isGone =
        version.state === 'destroyed' ||
        (head.state === 'destroyed' && version.version === head.currentVersion);
      assert.equal(lifecycleOf(head, version, nowMs, graceMs) === 'destroyed', isGone);
    }),
  );
});

test('only the current version is active, and only before its end and before it is archived', () => {
  fc.assert(
    fc.property(moments, ({ head, version, nowMs, graceMs }) => {
      if (lifecycleOf(head, version, nowMs, graceMs) !== 'active') return;
      assert.equal(version.version, head.currentVersion);
      assert.ok(nowMs < (head.validUntilMs ?? Infinity));
      assert.ok(nowMs < (version.archivedAtMs ?? Infinity));
    }),
  );
});

test('archived versions say since when, which is not later than now, and others do not', () => {
  fc.assert(
    fc.property(moments, ({ head, version, nowMs, graceMs }) => {
      const since = archivedSince(head, version, nowMs, graceMs);
      const isArchived = lifecycleOf(head, version, nowMs, graceMs) === 'archived';
      assert.equal(since !== undefined, isArchived);
      if (since === undefined) return;
      assert.ok(since <= nowMs);
      assert.equal(lifecycleOf(head, version, since, graceMs), 'archived');
      assert.notEqual(lifecycleOf(head, version, since - 1, graceMs), 'archived');
    }),
  );
});

test('a replaced version is pending for seven days to the millisecond, then archived', () => {
  const head = { state: 'active', currentVersion: 2 } as const;
  const version = { version: 1, state: 'active', createdAtMs: 1_000, replacedAtMs: 5_000 } as const;
  assert.equal(usualGraceMs, 7 * 86_400_000);
  assert.equal(lifecycleOf(head, version, 5_000), 'pending_rotation');
  assert.equal(lifecycleOf(head, version, 5_000 + usualGraceMs - 1), 'pending_rotation');
  assert.equal(lifecycleOf(head, version, 5_000 + usualGraceMs), 'archived');
  assert.equal(lifecycleOf(head, { ...version, version: 2 }, 5_000 + usualGraceMs), 'active');
});
