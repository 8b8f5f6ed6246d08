import assert from 'node:assert/strict';
import { createDecipheriv, randomBytes } from 'node:crypto';
import test from 'node:test';
import { type BatchResult, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type GeneratedKey, schemes } from '../../src/engine/engine.ts';
import { maxPlaintextBytes } from '../../src/engine/rooms.ts';
import { flipBit } from '../support/batches.ts';
import { aeadNames, wrap } from '../support/sealing.ts';
import type { SealingParts } from './contract-sealing.ts';

const { ok, rejected, badInput } = batchStatuses;
const none = new Uint8Array(0);
const text = (value: string) => new Uint8Array(Buffer.from(value));
const info = text('ron-kms::acme::web::wrap::0196c1d2-7a3b-7c4d-8e5f-0123456789ab#v1');
const bound = text('aad of the caller');

/** Work by data keys that stay wrapped outside of the engine. */
export function wrappedDataKeyTests(parts: SealingParts): void {
  const { run, make, reference } = parts;
  for (const name of aeadNames) {
    const scheme = schemes[name];
    const use = wrap(parts, name);
    const own = text('aad of the data key');
    const encrypt = (key: GeneratedKey, wrapped: Uint8Array, plaintext: Uint8Array, wrapAad = own) =>
      run({
        ...{ op: batchOps.encryptUnder, scheme, key: reference(key) },
        inputs: [wrapped, info, wrapAad, plaintext, bound],
      });
    const decrypt = (key: GeneratedKey, wrapped: Uint8Array, made: BatchResult, data = bound) =>
      run({
        ...{ op: batchOps.decryptUnder, scheme, key: reference(key) },
        inputs: [wrapped, info, own, ...(made.outputs as [Uint8Array, Uint8Array]), data],
      });

    test(`${name}: a wrapped data key encrypts and decrypts, and no other decrypts what it made`, () => {
      const key = make(name);
      const [one, other] = [randomBytes(32), randomBytes(32)].map(
        (dataKey) => use.wrap(key, dataKey, info, own).outputs[0] ?? none,
      ) as [Uint8Array, Uint8Array];
      for (const bytes of [0, 1, 1024, maxPlaintextBytes]) {
        const plaintext = randomBytes(bytes);
        const made = encrypt(key, one, plaintext);
        assert.equal(made.status, ok);
        const opened = decrypt(key, one, made);
        assert.deepEqual([opened.status, Buffer.from(opened.outputs[0] ?? none)], [ok, plaintext]);
        assert.equal(decrypt(key, one, made, none).status, rejected);
        assert.equal(decrypt(key, other, made).status, rejected);
        assert.equal(decrypt(make(name), one, made).status, rejected);
      }
      assert.equal(encrypt(key, one, new Uint8Array(maxPlaintextBytes + 1)).status, badInput);
    });

    test(`${name}: what does not open as a data key of 32 bytes encrypts nothing`, () => {
      const key = make(name);
      const wrapped = use.wrap(key, randomBytes(32), info, own).outputs[0] ?? none;
      assert.equal(encrypt(key, flipBit(wrapped, 8 * 20), bound).status, rejected);
      assert.equal(encrypt(key, wrapped, bound, none).status, rejected);
      assert.equal(encrypt(make(name), wrapped, bound).status, rejected);
      for (const bytes of [0, 16, 31, 33, 64]) {
        const odd = use.wrap(key, randomBytes(bytes), info, own).outputs[0] ?? none;
        assert.equal(encrypt(key, odd, bound).status, rejected, `${bytes}`);
      }
      assert.equal(encrypt(key, none, bound).status, rejected);
    });

    if (name !== 'aes-256-gcm') continue;
    test(`${name}: the plaintext of a data key is the key that encrypts under it`, () => {
      const key = make(name);
      const dataKey = randomBytes(32);
      const wrapped = use.wrap(key, dataKey, info, own).outputs[0] ?? none;
      const [nonce, ciphertext] = encrypt(key, wrapped, bound).outputs as [Uint8Array, Uint8Array];
      const decipher = createDecipheriv('aes-256-gcm', dataKey, nonce).setAAD(bound);
      decipher.setAuthTag(ciphertext.subarray(-16));
      const opened = Buffer.concat([decipher.update(ciphertext.subarray(0, -16)), decipher.final()]);
      assert.deepEqual(opened, Buffer.from(bound));
    });
  }
}
