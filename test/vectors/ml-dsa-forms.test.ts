import assert from 'node:assert/strict';
import test from 'node:test';
import { type BatchItem, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { aad, bytes, flipBit, hex, runBatch, signatureOf, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { loadVectors } from './load.ts';

const { ok, rejected, badInput } = batchStatuses;

for (const { name: engineName, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  const hasMu = !engine.description.lacks.includes('mu');
  const run = (item: Pick<BatchItem, 'op' | 'scheme' | 'key' | 'inputs'>) => {
    const [result] = runBatch(engine, root, [{ keyNumber: 0, ...item }]);
    return { status: result?.status, signature: hex(signatureOf(result)) };
  };

  for (const name of ['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const) {
    const groups = loadVectors(`mldsa_${name.slice(-2)}_context_mu`).testGroups;
    const scheme = schemes[name];
    const cases = groups.flatMap(({ privateSeed, publicKey, tests }) =>
      tests.map((one) => ({ ...one, privateSeed: privateSeed as string, publicKey: bytes(publicKey) })),
    );

    test(`${engineName}: Wycheproof ${name}: signatures under a context verify under it and under no other`, () => {
      let contexts = 0;
      for (const { tcId, msg, ctx, sig, publicKey } of cases) {
        if (msg === undefined) continue;
        const check = (...context: readonly Uint8Array[]) =>
          run({ op: batchOps.verify, scheme, key: publicKey, inputs: [bytes(msg), bytes(sig), ...context] })
            .status;
        const given = bytes(ctx ?? '');
        assert.equal(check(given), ok, `tcId ${tcId}`);
        assert.equal(check(), given.length === 0 ? ok : rejected, `tcId ${tcId} without its context`);
        assert.equal(check(Buffer.concat([given, Buffer.of(0)]).subarray(-255)), rejected, `tcId ${tcId}`);
        if (given.length > 0) contexts += 1;
      }
      assert.ok(contexts >= 2);
    });

    test(`${engineName}: ${name}: a context longer than 255 bytes is BAD_INPUT`, () => {
      const [{ publicKey, sig }] = cases as [(typeof cases)[0]];
      const key = buildKeyReference(tenant, aad, engine.generate(root, keyTypes[name], tenant, aad).sealed);
      const long = new Uint8Array(256);
      const verified = run({ op: batchOps.verify, scheme, key: publicKey, inputs: [long, bytes(sig), long] });
      assert.equal(verified.status, badInput);
      assert.equal(run({ op: batchOps.sign, scheme, key, inputs: [long, long] }).status, badInput);
      assert.equal(run({ op: batchOps.sign, scheme, key, inputs: [long, long.subarray(1)] }).status, ok);
    });

    if (engineName === 'native') {
      test(`native: Wycheproof ${name}: deterministic signing under a context gives the known signatures`, () => {
        for (const { tcId, msg, ctx, sig, privateSeed } of cases) {
          if (msg === undefined) continue;
          const { sealed } = engine.importKey(root, keyTypes[name], tenant, aad, bytes(privateSeed));
          const key = buildKeyReference(tenant, aad, sealed);
          const inputs = ctx === undefined ? [bytes(msg)] : [bytes(msg), bytes(ctx)];
          const made = run({ op: batchOps.signDeterministic, scheme, key, inputs });
          assert.equal(made.signature, sig, `tcId ${tcId}`);
        }
      });
    }

    const does = hasMu ? 'verify by their mu' : 'are BAD_INPUT by their mu, which this engine lacks';
    test(`${engineName}: Wycheproof ${name}: signatures ${does}`, () => {
      for (const { tcId, mu = '', sig, publicKey } of cases) {
        const check = (m: Uint8Array, s: Uint8Array, ...more: readonly Uint8Array[]) =>
          run({ op: batchOps.verifyMu, scheme, key: publicKey, inputs: [m, s, ...more] }).status;
        const [given, signature] = [bytes(mu), bytes(sig)];
        assert.equal(check(given, signature), hasMu ? ok : badInput, `tcId ${tcId}`);
        assert.equal(check(flipBit(given, 0), signature), hasMu ? rejected : badInput);
        assert.equal(check(given, flipBit(signature, 9)), hasMu ? rejected : badInput);
        assert.equal(check(given, signature.subarray(1)), hasMu ? rejected : badInput);
        assert.equal(check(given.subarray(1), signature), badInput);
        assert.equal(check(given, signature, new Uint8Array(0)), badInput, 'a context beside a mu');
        // The 64 bytes as a message are another thing, whichever engine is asked.
        const asMessage = run({ op: batchOps.verify, scheme, key: publicKey, inputs: [given, signature] });
        assert.equal(asMessage.status, rejected);
      }
    });
  }
}
