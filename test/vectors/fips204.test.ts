import assert from 'node:assert/strict';
import test from 'node:test';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, keyTypes, schemes } from '../../src/engine/engine.ts';
import { aad, bytes, hex, runBatch, signatureOf, signItem, tenant, verifyOne } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { loadVectors } from './load.ts';

const names = ['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const;
const publicKeyBytes = { 'ml-dsa-44': 1312, 'ml-dsa-65': 1952, 'ml-dsa-87': 2592 } as const;

for (const { name: engineName, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  for (const name of names) mlDsaVectors(engineName, engine, root, name);
}

function mlDsaVectors(engineName: string, engine: Engine, root: unknown, name: (typeof names)[number]): void {
  const size = name.slice(-2);
  const scheme = schemes[name];

  test(`${engineName}: FIPS 204 ${name}: the seed gives the public key, and known signatures verify`, () => {
    for (const { privateSeed, publicKey, tests } of loadVectors(`mldsa_${size}_sign_seed`).testGroups) {
      const key = engine.importKey(root, keyTypes[name], tenant, aad, bytes(privateSeed as string));
      assert.equal(hex(key.publicKey), publicKey);
      for (const { tcId, msg, sig } of tests) {
        const status = verifyOne(engine, root, scheme, key.publicKey, bytes(msg), bytes(sig));
        assert.equal(status, batchStatuses.ok, `tcId ${tcId}`);
      }
    }
  });

  const deterministic =
    engineName === 'native'
      ? 'deterministic signing gives the known signatures'
      : 'deterministic signing is BAD_INPUT, as node:crypto cannot be asked for it';
  test(`${engineName}: FIPS 204 ${name}: ${deterministic}`, () => {
    for (const { privateSeed, tests } of loadVectors(`mldsa_${size}_sign_seed`).testGroups) {
      const key = engine.importKey(root, keyTypes[name], tenant, aad, bytes(privateSeed as string));
      for (const { tcId, msg, sig } of tests) {
        const item = signItem(scheme, key, bytes(msg), { op: batchOps.signDeterministic });
        const [result] = runBatch(engine, root, [item]);
        if (engineName === 'native') assert.equal(hex(signatureOf(result)), sig, `tcId ${tcId}`);
        else assert.equal(result?.status, batchStatuses.badInput);
      }
    }
  });

  test(`${engineName}: FIPS 204 ${name}: signatures verify or are refused as Wycheproof says`, () => {
    for (const { publicKey, tests } of loadVectors(`mldsa_${size}_verify`).testGroups) {
      const key = bytes(publicKey);
      const refused =
        key.length === publicKeyBytes[name] ? batchStatuses.rejected : batchStatuses.keyUnusable;
      for (const { tcId, msg, sig, result, comment } of tests) {
        const status = verifyOne(engine, root, scheme, key, bytes(msg), bytes(sig));
        assert.equal(status, result === 'valid' ? batchStatuses.ok : refused, `tcId ${tcId}: ${comment}`);
      }
    }
  });
}
