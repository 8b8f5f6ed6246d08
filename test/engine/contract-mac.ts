import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import test from 'node:test';
import { batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, keyTypes, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { aad, flipBit, nextKeyNumber, runBatch, signatureOf, signOne, tenant } from '../support/batches.ts';

const message = Buffer.from('d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24', 'hex');
const { ok, rejected, keyUnusable, badInput } = batchStatuses;

/** What every engine owes with secret keys that authenticate messages. */
export function macTests(engine: Engine, root: unknown): void {
  // RFC 4231 has no case with a key of 32 bytes; its data of case 2 under such a key, held against node:crypto.
  const knownKey = () => new Uint8Array(32).fill(0x0b);
  const knownMessage = Buffer.from('what do ya want for nothing?');
  const scheme = schemes['hmac-sha256'];

  function macOne(key: { readonly sealed: Uint8Array }, data: Uint8Array, keyNumber = 0) {
    const reference = buildKeyReference(tenant, aad, key.sealed);
    const [result] = runBatch(engine, root, [
      { op: batchOps.mac, scheme, keyNumber, key: reference, inputs: [data] },
    ]);
    return { status: result?.status, tag: signatureOf(result) };
  }

  function verifyMac(key: { readonly sealed: Uint8Array }, data: Uint8Array, tag: Uint8Array, keyNumber = 0) {
    const reference = buildKeyReference(tenant, aad, key.sealed);
    return runBatch(engine, root, [
      { op: batchOps.verifyMac, scheme, keyNumber, key: reference, inputs: [data, tag] },
    ])[0]?.status;
  }

  test('hmac-sha256: the tag is that of node:crypto, and no public key comes with the key', () => {
    const key = engine.importKey(root, keyTypes['hmac-sha256'], tenant, aad, knownKey());
    assert.equal(key.publicKey.length, 0);
    for (const length of [0, 1, 63, 64, 65, 65_536]) {
      const data = Buffer.alloc(length, 0xa5);
      const { status, tag } = macOne(key, data);
      assert.equal(status, ok);
      assert.deepEqual(Buffer.from(tag), createHmac('sha256', knownKey()).update(data).digest());
    }
    assert.deepEqual(
      Buffer.from(macOne(key, knownMessage).tag).toString('hex'),
      createHmac('sha256', knownKey()).update(knownMessage).digest('hex'),
    );
  });

  test('hmac-sha256: a new key verifies its own tags and nothing else, from the blob and from the cache', () => {
    const key = engine.generate(root, keyTypes['hmac-sha256'], tenant, aad);
    const other = engine.generate(root, keyTypes['hmac-sha256'], tenant, aad);
    for (const keyNumber of [0, nextKeyNumber()]) {
      const { tag } = macOne(key, message, keyNumber);
      assert.equal(tag.length, 32);
      assert.equal(verifyMac(key, message, tag, keyNumber), ok);
      assert.equal(verifyMac(other, message, tag), rejected);
      assert.equal(verifyMac(key, flipBit(message, 0), tag, keyNumber), rejected);
      for (const bit of [0, 100, 255]) {
        assert.equal(verifyMac(key, message, flipBit(tag, bit), keyNumber), rejected);
      }
      for (const length of [0, 16, 31]) {
        assert.equal(verifyMac(key, message, tag.subarray(0, length), keyNumber), rejected);
      }
      assert.equal(verifyMac(key, message, Buffer.concat([tag, tag]), keyNumber), rejected);
    }
  });

  test('a key that signs makes no tags, a secret key no signatures, and no operation fits another scheme', () => {
    const signing = engine.generate(root, keyTypes.ed25519, tenant, aad);
    const secret = engine.generate(root, keyTypes['hmac-sha256'], tenant, aad);
    assert.equal(macOne(signing, message).status, keyUnusable);
    assert.equal(signOne(engine, root, schemes.ed25519, secret, message).status, keyUnusable);
    assert.equal(signOne(engine, root, scheme, secret, message).status, badInput);
    const reference = buildKeyReference(tenant, aad, signing.sealed);
    const crossed = {
      op: batchOps.mac,
      scheme: schemes.ed25519,
      keyNumber: 0,
      key: reference,
      inputs: [message],
    };
    assert.equal(runBatch(engine, root, [crossed])[0]?.status, badInput);
  });
}
