import assert from 'node:assert/strict';
import test from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { custodyContract, type HomeUnderTest } from '../contracts/custody.ts';
import { openHome } from '../support/softhsm.ts';
import { createTokenModule, noCompiler } from '../support/token-module.ts';

if (noCompiler === false)
  custodyContract('of a token with ML-DSA', tokenHome, {
    destroyEndsReferences: true,
    hidesSecrets: true,
    lacks: ['ed25519ph', 'mu', 'context'],
  });

async function tokenHome(): Promise<HomeUnderTest> {
  const token = createTokenModule();
  const home = await openHome(token.settings);
  return Object.assign(home, {
    privateNumbers: () => [],
    close: async () => {
      await Object.getPrototypeOf(home).close.call(home);
      token.remove();
    },
  });
}

test('a token that lists the mechanisms of PKCS#11 3.2 holds ML-DSA, and the hybrid of it', {
  skip: noCompiler,
}, async (t) => {
  const token = createTokenModule();
  t.after(() => token.remove());
  const home = await openHome(token.settings);
  t.after(() => home.close());
  for (const name of [
    'ed25519',
    'ecdsa-p256',
    'rsa-2048',
    'ml-dsa-44',
    'ml-dsa-65',
    'ml-dsa-87',
    'ed25519+ml-dsa-65',
  ])
    assert.ok(home.holds(findAlgorithm(name)!), name);
});
