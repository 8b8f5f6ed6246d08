import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import test from 'node:test';
import { batchStatuses } from '../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../src/engine/engine.ts';
import { aad, bytes, flipBit, hex, signOne, tenant, verifyOne } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';

// RFC 6979, appendix A.2.5: P-256; signatures with SHA-256 as (r, s).
const x = 'c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721';
const ux = '60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6';
const uy = '7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299';
const signatures = [
  {
    message: 'sample',
    r: 'efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716',
    s: 'f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8',
  },
  {
    message: 'test',
    r: 'f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367',
    s: '019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083',
  },
];
const publicKey = bytes(`04${ux}${uy}`);

for (const { name, create } of availableEngines()) {
  const engine = create();
  const root = engine.openRoot({ kind: 'memory' });

  test(`${name}: RFC 6979, A.2.5: the P-256 signatures verify, and not over another message`, () => {
    for (const { message, r, s } of signatures) {
      const check = (text: string, signature: Uint8Array) =>
        verifyOne(engine, root, schemes['ecdsa-p256-sha256'], publicKey, Buffer.from(text), signature);
      assert.equal(check(message, der(r, s)), batchStatuses.ok);
      assert.equal(check(`${message}.`, der(r, s)), batchStatuses.rejected);
      assert.equal(check(message, flipBit(der(r, s), 100)), batchStatuses.rejected);
    }
  });

  test(`${name}: RFC 6979, A.2.5: the private key gives the public key and signs for it`, () => {
    const base64url = (value: string) => Buffer.from(value, 'hex').toString('base64url');
    const jwk = { kty: 'EC', crv: 'P-256', d: base64url(x), x: base64url(ux), y: base64url(uy) };
    const secret = createPrivateKey({ key: jwk, format: 'jwk' }).export({ format: 'der', type: 'pkcs8' });
    const key = engine.importKey(root, keyTypes['ecdsa-p256'], tenant, aad, secret);
    assert.equal(hex(key.publicKey), hex(publicKey));
    const message = Buffer.from('sample');
    const { signature } = signOne(engine, root, schemes['ecdsa-p256-sha256'], key, message);
    assert.equal(
      verifyOne(engine, root, schemes['ecdsa-p256-sha256'], publicKey, message, signature),
      batchStatuses.ok,
    );
  });
}

/** SEQUENCE { INTEGER r, INTEGER s } of two values of 32 bytes. */
function der(...values: readonly string[]): Uint8Array {
  const integers = values.map((value) => {
    const unsigned = bytes(value).subarray(value.startsWith('00') ? 1 : 0);
    const content = (unsigned[0] as number) >= 0x80 ? Buffer.concat([Buffer.of(0), unsigned]) : unsigned;
    return Buffer.concat([Buffer.of(2, content.length), content]);
  });
  const sequence = Buffer.concat(integers);
  return Buffer.concat([Buffer.of(0x30, sequence.length), sequence]);
}
