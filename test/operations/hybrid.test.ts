import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { type CheckedSignature, type HybridMode, judge } from '../../src/policy/hybrid.ts';

const algorithms = ['ed25519', 'ml-dsa-65', 'ed25519+ml-dsa-65', 'rsa-2048'].map(
  (name) => findAlgorithm(name)!,
);
const modes = ['and', 'pq_only', 'or'] as const;

/** Signatures by up to three keys; each fits one component of its key, or none. */
const signatures = fc
  .array(fc.record({ key: fc.nat(2), component: fc.nat(2), valid: fc.boolean() }), {
    minLength: 1,
    maxLength: 8,
    size: 'max',
  })
  .chain((drawn) =>
    fc.tuple(...[0, 1, 2].map(() => fc.constantFrom(...algorithms))).map((keys) =>
      drawn.map(({ key, component, valid }): CheckedSignature => {
        const { components } = keys[key] as (typeof algorithms)[number];
        const fits = components[component];
        // What fits no component was never checked.
        return { kid: `k${key}`, components, component: fits, valid: valid && fits !== undefined };
      }),
    ),
  );

const ok = (sigs: readonly CheckedSignature[], mode: HybridMode) => judge(sigs, mode).ok;

test('the satisfied mode is the strictest that holds, and asking for it gives ok', () => {
  fc.assert(
    fc.property(signatures, (sigs) => {
      const holding = modes.filter((mode) => ok(sigs, mode));
      for (const mode of modes) assert.equal(judge(sigs, mode).satisfiedMode, holding[0] ?? 'none');
      // What satisfies a stricter mode satisfies `or`.
      if (holding.length > 0) assert.ok(holding.includes('or'));
    }),
    { numRuns: 500 },
  );
});

test('the order of signatures does not matter', () => {
  fc.assert(
    fc.property(
      signatures.chain((sigs) =>
        fc.tuple(fc.constant(sigs), fc.shuffledSubarray(sigs, { minLength: sigs.length })),
      ),
      ([sigs, shuffled]) => {
        for (const mode of modes) assert.deepEqual(judge(shuffled, mode), judge(sigs, mode));
      },
    ),
    { numRuns: 300 },
  );
});

test('each named key has to hold by itself', () => {
  fc.assert(
    fc.property(signatures, (sigs) => {
      const kids = [...new Set(sigs.map(({ kid }) => kid))];
      for (const mode of modes) {
        const each = kids.every((kid) =>
          ok(
            sigs.filter((sig) => sig.kid === kid),
            mode,
          ),
        );
        assert.equal(ok(sigs, mode), each);
      }
    }),
    { numRuns: 300 },
  );
});

test('making a signature invalid never makes anything hold', () => {
  fc.assert(
    fc.property(signatures, fc.nat(7), (sigs, which) => {
      const index = which % sigs.length;
      const spoiled = sigs.with(index, { ...(sigs[index] as CheckedSignature), valid: false });
      for (const mode of modes) if (ok(spoiled, mode)) assert.ok(ok(sigs, mode));
      assert.equal(ok(spoiled, 'and'), false);
    }),
    { numRuns: 300 },
  );
});

test('nothing classical satisfies pq_only', () => {
  fc.assert(
    fc.property(signatures, (sigs) => {
      const classical = sigs.filter(({ component }) => component?.postQuantum === false);
      if (classical.length > 0) assert.equal(ok(classical, 'pq_only'), false);
    }),
  );
});
