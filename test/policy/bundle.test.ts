import assert from 'node:assert/strict';
import test from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { bundleFault } from '../../src/policy/bundle.ts';

const { components: classical } = findAlgorithm('ed25519')!;
const { components: hybrid } = findAlgorithm('ed25519+ml-dsa-65')!;

test('the fault of a bundle without a post-quantum signature is the same in every order of its keys', () => {
  const downgraded = { kid: 'one', components: classical, signedBy: classical };
  const stripped = { kid: 'two', components: hybrid, signedBy: [hybrid[0]] };
  assert.equal(bundleFault([downgraded, stripped], 'pq_only'), 'downgraded');
  assert.equal(bundleFault([stripped, downgraded], 'pq_only'), 'downgraded');
  assert.equal(bundleFault([stripped], 'pq_only'), 'stripped');
});
