import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { batchStatuses } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { aad, bytes, hex, signOne, tenant } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';
import { loadVectors } from './load.ts';

type Vector = Record<'seed' | 'publicKey' | 'message' | 'signature', string>;
const vector = loadVectors<Vector[]>('rfc8032')[2] as Vector;

const rootKey = Buffer.from(Array.from({ length: 32 }, (_, index) => index));
const nonce = bytes('a0a1a2a3a4a5a6a7a8a9aaab');
const header = Buffer.of(1, 1, keyTypes.ed25519, 0);

/**
 * The seed of RFC 8032's third test, sealed under the root key 00 01 .. 1f for tenant "acme" with the aad
 * "acme/web/key/1". Fixed here, since data directories hold such blobs for years.
 */
const knownBlob =
  '01010100a0a1a2a3a4a5a6a7a8a9aaab2b186f85dc295d53de28ea10ce04cfe6cdd94b07207ecb75863bd15f5f2925ac5ab6a21b57b3e174dcc5688078939c89';

const directory = mkdtempSync(join(tmpdir(), 'intaglio-sealed-'));
const rootPath = join(directory, 'root');
writeFileSync(rootPath, rootKey, { mode: 0o600 });
after(() => rmSync(directory, { recursive: true }));

test('the known sealed blob is what RFC 5869 and SP 800-38D say, computed without an engine', () => {
  const cipher = createCipheriv('aes-256-gcm', tenantKey(), nonce).setAAD(additionalData());
  const ciphertext = Buffer.concat([cipher.update(bytes(vector.seed)), cipher.final()]);
  assert.equal(hex(Buffer.concat([header, nonce, ciphertext, cipher.getAuthTag()])), knownBlob);
});

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'file', path: rootPath });

  test(`${name}: the known sealed blob opens, and signs as its seed does`, () => {
    const key = { sealed: bytes(knownBlob), publicKey: bytes(vector.publicKey) };
    const { status, signature } = signOne(engine, root, schemes.ed25519, key, bytes(vector.message));
    assert.equal(status, batchStatuses.ok);
    assert.equal(hex(signature), vector.signature);
  });

  test(`${name}: what the engine seals opens without an engine, each time under a new nonce`, () => {
    const nonces = new Set<string>();
    for (let round = 0; round < 20; round++) {
      const { sealed } = engine.importKey(root, keyTypes.ed25519, tenant, aad, bytes(vector.seed));
      assert.equal(sealed.length, 4 + 12 + 32 + 16);
      assert.equal(hex(sealed.subarray(0, 4)), hex(header));
      nonces.add(hex(sealed.subarray(4, 16)));
      const decipher = createDecipheriv('aes-256-gcm', tenantKey(), sealed.subarray(4, 16), {
        authTagLength: 16,
      });
      decipher.setAAD(additionalData()).setAuthTag(sealed.subarray(48));
      const seed = Buffer.concat([decipher.update(sealed.subarray(16, 48)), decipher.final()]);
      assert.equal(hex(seed), vector.seed);
    }
    assert.equal(nonces.size, 20);
  });

  test(`${name}: a MAC is HMAC-SHA-256 under a key that HKDF derives from the root key for its purpose`, () => {
    const keyOf = (of: unknown, purpose: string) => engine.macKey(engine.rootMacKey(of, purpose));
    const key = keyOf(root, 'a-use');
    const another = keyOf(root, 'another');
    for (const length of [0, 1, 63, 64, 65, 10_000]) {
      const message = Buffer.alloc(length, 7);
      const expected = createHmac('sha256', derived('intaglio/mac/v1\0a-use')).update(message).digest();
      assert.equal(hex(key.mac(message)), hex(expected));
      assert.notEqual(hex(another.mac(message)), hex(expected));
    }
    const message = Buffer.from('m');
    const ofOtherRoot = keyOf(engine.openRoot({ kind: 'memory' }), 'a-use');
    assert.notEqual(hex(ofOtherRoot.mac(message)), hex(key.mac(message)));
    assert.throws(() => engine.rootMacKey(undefined, 'a-use'), { code: 'BAD_ARGUMENT' });
  });
}

/** HKDF of RFC 5869 by hand: 32 bytes are one block, and no salt is 32 zeros. */
function derived(info: string): Buffer {
  const pseudoRandomKey = createHmac('sha256', Buffer.alloc(32)).update(rootKey).digest();
  return createHmac('sha256', pseudoRandomKey).update(info).update(Buffer.of(1)).digest();
}

function tenantKey(): Buffer {
  return derived(`intaglio/seal/v1\0${tenant}`);
}

function additionalData(): Buffer {
  return Buffer.concat([header, Buffer.from(aad)]);
}
