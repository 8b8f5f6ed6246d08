import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { type BatchOp, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { aad, flipBit, runBatch, signatureOf, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';

const { ok, rejected, keyUnusable, badInput } = batchStatuses;
const names = ['mldsa65-ed25519', 'mldsa44-ed25519', 'mldsa65-p256'] as const;
const mlDsaBytes = {
  'mldsa65-ed25519': { key: 1952, signature: 3309 },
  'mldsa44-ed25519': { key: 1312, signature: 2420 },
  'mldsa65-p256': { key: 1952, signature: 3309 },
} as const;

/** Members in base64, as the draft publishes them. */
type Member = 'm' | 'ctx' | 'pk' | 'x5c' | 'sk' | 's' | 'sWithContext';

function draftVector(name: string): Readonly<Record<Member, Buffer>> {
  const url = new URL(`../../docs/vectors/signatures/${name}.draft.json`, import.meta.url);
  const file = JSON.parse(readFileSync(url, 'utf8')) as Record<Member, string>;
  const read = (member: Member) => Buffer.from(file[member], 'base64');
  const { m, ctx, pk, x5c } = { m: read('m'), ctx: read('ctx'), pk: read('pk'), x5c: read('x5c') };
  return { m, ctx, pk, x5c, sk: read('sk'), s: read('s'), sWithContext: read('sWithContext') };
}

for (const name of names) {
  const vector = draftVector(name);
  const scheme = schemes[name];
  const sha512 = hash('sha512', vector.m, 'buffer');

  test(`${name}: the draft's certificate holds the very SubjectPublicKeyInfo that is served`, () => {
    const { spkiPrefix = new Uint8Array(0) } = findAlgorithm(name)?.components[0] ?? {};
    assert.ok(vector.x5c.includes(Buffer.concat([spkiPrefix, vector.pk])));
  });

  for (const { name: engineName, create } of availableEngines()) {
    const engine = create();
    const root = engine.openRoot({ kind: 'memory' });
    const run = (op: BatchOp, key: Uint8Array, ...inputs: readonly Uint8Array[]) => {
      const [result] = runBatch(engine, root, [{ op, scheme, keyNumber: 0, key, inputs }]);
      return { status: result?.status, signature: signatureOf(result) };
    };
    const verify = (...inputs: readonly Uint8Array[]) => run(batchOps.verify, vector.pk, ...inputs).status;

    test(`${engineName}: ${name}: the draft's signatures verify, with and without context, by message and digest`, () => {
      const { m, ctx, pk, s, sWithContext } = vector;
      assert.equal(verify(m, s), ok);
      assert.equal(verify(m, s, new Uint8Array(0)), ok);
      assert.equal(verify(m, sWithContext, ctx), ok);
      assert.equal(run(batchOps.verifyDigest, pk, sha512, s).status, ok);
      assert.equal(run(batchOps.verifyDigest, pk, sha512, sWithContext, ctx).status, ok);
      assert.equal(verify(m, s, ctx), rejected);
      assert.equal(verify(m, sWithContext), rejected);
      assert.equal(run(batchOps.verifyDigest, pk, sha512.subarray(1), s).status, badInput);
      assert.equal(run(batchOps.verifyMu, pk, sha512, s).status, badInput);
    });

    test(`${engineName}: ${name}: the draft's private key gives its public key, and signs`, () => {
      const secret = Buffer.from(vector.sk);
      const { sealed, publicKey } = engine.importKey(root, keyTypes[name], tenant, aad, secret);
      assert.deepEqual(secret, Buffer.alloc(vector.sk.length), 'the copy is wiped');
      assert.deepEqual(Buffer.from(publicKey), vector.pk);
      const key = buildKeyReference(tenant, aad, sealed);
      for (const [op, input, ...context] of [
        [batchOps.sign, vector.m],
        [batchOps.sign, vector.m, vector.ctx],
        [batchOps.signDigest, sha512],
        [batchOps.signDigest, sha512, vector.ctx],
      ] as const) {
        const { status, signature } = run(op, key, input, ...context);
        assert.equal(status, ok);
        assert.equal(verify(vector.m, signature, ...context), ok);
      }
      assert.equal(run(batchOps.sign, key, vector.m, new Uint8Array(256)).status, badInput);
      assert.equal(run(batchOps.signMu, key, sha512).status, badInput);
    });

    test(`${engineName}: ${name}: either part altered, cut or exchanged spoils the whole`, () => {
      const { m, s } = vector;
      const { key: keyBytes, signature: sigBytes } = mlDsaBytes[name];
      for (const bit of [0, 8 * sigBytes - 9, 8 * sigBytes + 40, 8 * s.length - 9])
        assert.equal(verify(m, flipBit(s, bit)), rejected, `bit ${bit}`);
      for (const length of [0, 64, sigBytes - 1, sigBytes, s.length - 1])
        assert.equal(verify(m, s.subarray(0, length)), rejected, `${length} bytes`);
      assert.equal(verify(m, Buffer.concat([s, Buffer.of(0)])), rejected);
      assert.equal(
        verify(m, Buffer.concat([s.subarray(0, sigBytes), s.subarray(0, s.length - sigBytes)])),
        rejected,
      );
      const other = engine.generate(root, keyTypes[name], tenant, aad).publicKey;
      for (const key of [
        Buffer.concat([vector.pk.subarray(0, keyBytes), other.subarray(keyBytes)]),
        Buffer.concat([other.subarray(0, keyBytes), vector.pk.subarray(keyBytes)]),
      ])
        assert.equal(run(batchOps.verify, key, m, s).status, rejected);
      for (const key of [vector.pk.subarray(1), vector.pk.subarray(0, keyBytes), new Uint8Array(0)])
        assert.equal(run(batchOps.verify, key, m, s).status, keyUnusable);
    });

    test(`${engineName}: ${name}: other private keys are refused`, () => {
      const { sk } = vector;
      const wrong = [sk.subarray(1), sk.subarray(0, 32), Buffer.concat([sk, Buffer.of(0)]), Buffer.alloc(0)];
      if (name === 'mldsa65-p256') {
        // No scalar, one that is none, and another encoding.
        const head = sk.subarray(0, 39);
        const tail = sk.subarray(71);
        wrong.push(Buffer.concat([head, Buffer.alloc(32), tail]));
        wrong.push(Buffer.concat([head, Buffer.alloc(32, 0xff), tail]));
        wrong.push(Buffer.concat([sk.subarray(0, 32), Buffer.from('30820031', 'hex'), sk.subarray(34)]));
      }
      for (const secret of wrong) {
        assert.throws(() => engine.importKey(root, keyTypes[name], tenant, aad, Buffer.from(secret)), {
          code: 'BAD_ARGUMENT',
        });
      }
    });
  }
}
