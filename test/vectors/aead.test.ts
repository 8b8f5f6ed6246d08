import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import test from 'node:test';
import { type BatchItem, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type KeyTypeName, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { aad, bytes, hex, runBatch, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { readPublished } from '../support/published-vectors.ts';
import { loadVectors } from './load.ts';

interface XaesVector {
  readonly key: string;
  readonly nonce: string;
  readonly aad: string;
  readonly plaintext: string;
  readonly ciphertext: string;
}

interface KwpVector {
  readonly tcId: number;
  readonly key: string;
  readonly msg: string;
  readonly ct: string;
  readonly result: 'valid' | 'acceptable' | 'invalid';
}

const none = new Uint8Array(0);

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });
  const holding = (type: KeyTypeName, secret: Uint8Array) => {
    const { sealed } = engine.importKey(root, keyTypes[type], tenant, aad, Uint8Array.from(secret));
    const key = buildKeyReference(tenant, aad, sealed);
    return (op: BatchItem['op'], ...inputs: Uint8Array[]) => {
      const scheme = schemes[type as 'aes-256-gcm'];
      const result = runBatch(engine, root, [{ op, scheme, keyNumber: 0, key, inputs }])[0];
      assert.equal(result?.status, batchStatuses.ok);
      return result.outputs as readonly [Uint8Array, Uint8Array];
    };
  };

  test(`${name}: XAES-256-GCM opens the vectors of C2SP, and what it makes are its nonces' ciphertexts`, () => {
    const vectors = readPublished<XaesVector[]>('xaes-256-gcm.json');
    assert.equal(vectors.length, 2);
    for (const vector of vectors) {
      const run = holding('xaes-256-gcm', bytes(vector.key));
      const [opened] = run(
        batchOps.decrypt,
        bytes(vector.nonce),
        bytes(vector.ciphertext),
        bytes(vector.aad),
      );
      assert.equal(hex(opened), vector.plaintext);
    }
  });

  test(`${name}: AES-256-GCM and ChaCha20-Poly1305 are those of node:crypto, both ways`, () => {
    for (const type of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
      const [secret, plaintext, data] = [randomBytes(32), randomBytes(100), randomBytes(20)];
      const run = holding(type, secret);
      const [nonce, ciphertext] = run(batchOps.encrypt, plaintext, data);
      const decipher = createDecipheriv(type as 'aes-256-gcm', secret, nonce, { authTagLength: 16 });
      decipher.setAAD(data, { plaintextLength: 100 });
      decipher.setAuthTag(ciphertext.subarray(100));
      assert.deepEqual(
        Buffer.concat([decipher.update(ciphertext.subarray(0, 100)), decipher.final()]),
        plaintext,
      );
      const own = randomBytes(12);
      const cipher = createCipheriv(type as 'aes-256-gcm', secret, own, { authTagLength: 16 });
      cipher.setAAD(data, { plaintextLength: 100 });
      const made = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
      assert.deepEqual(Buffer.from(run(batchOps.decrypt, own, made, data)[0]), plaintext);
    }
  });

  test(`${name}: aes-256-kwp takes and refuses what Wycheproof says`, () => {
    for (const { tcId, key, msg, ct, result } of loadVectors<KwpVector[]>('aes_kwp_256')) {
      const { sealed } = engine.importKey(root, keyTypes['aes-256-kwp'], tenant, aad, bytes(key));
      const opened = runBatch(engine, root, [
        {
          op: batchOps.unwrap,
          scheme: schemes['aes-256-kwp'],
          keyNumber: 0,
          key: buildKeyReference(tenant, aad, sealed),
          inputs: [bytes(ct), none, none],
        },
      ])[0];
      const expected = result === 'invalid' ? [batchStatuses.rejected, ''] : [batchStatuses.ok, msg];
      assert.deepEqual([opened?.status, hex(opened?.outputs[0] ?? none)], expected, `test ${tcId}`);
    }
  });

  test(`${name}: aes-256-kwp gives the bytes of node:crypto for every length from 1 to 80`, () => {
    const secret = randomBytes(32);
    const run = holding('aes-256-kwp', secret);
    for (let length = 1; length <= 80; length++) {
      const plaintext = randomBytes(length);
      const cipher = createCipheriv('id-aes256-wrap-pad', secret, Buffer.from('a65959a6', 'hex'));
      const expected = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      assert.deepEqual(Buffer.from(run(batchOps.wrap, plaintext, none, none)[0]), expected);
      assert.deepEqual(Buffer.from(run(batchOps.unwrap, expected, none, none)[0]), plaintext);
    }
  });
}
