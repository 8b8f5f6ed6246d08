import assert from 'node:assert/strict';
import test from 'node:test';
import { batchStatuses } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { aad, bytes, hex, signOne, tenant, verifyOne } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { loadVectors } from './load.ts';

type Vector = Record<'name' | 'seed' | 'publicKey' | 'message' | 'signature', string>;

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  for (const vector of loadVectors<Vector[]>('rfc8032')) {
    test(`${name}: RFC 8032, section 7.1, ${vector.name}: public key, signature, verification`, () => {
      const message = bytes(vector.message);
      const key = engine.importKey(root, keyTypes.ed25519, tenant, aad, bytes(vector.seed));
      assert.equal(hex(key.publicKey), vector.publicKey);
      const { status, signature } = signOne(engine, root, schemes.ed25519, key, message);
      assert.equal(status, batchStatuses.ok);
      assert.equal(hex(signature), vector.signature);
      assert.equal(
        verifyOne(engine, root, schemes.ed25519, bytes(vector.publicKey), message, bytes(vector.signature)),
        batchStatuses.ok,
      );
    });
  }
}
