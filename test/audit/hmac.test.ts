import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import test from 'node:test';
import { hmacHex, prepareHmac } from '../../src/audit/hmac.ts';

function hmac(key: Uint8Array, message: Uint8Array): string {
  const prepared = prepareHmac(key, message.length);
  prepared.inner.set(message, prepared.messageAt);
  return hmacHex(prepared);
}

test('HMAC-SHA-256 has the values of RFC 4231', () => {
  const cases: [Buffer, Buffer, string][] = [
    [
      Buffer.alloc(20, 0x0b),
      Buffer.from('Hi There'),
      'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
    ],
    [
      Buffer.from('Jefe'),
      Buffer.from('what do ya want for nothing?'),
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
    ],
    [
      Buffer.alloc(20, 0xaa),
      Buffer.alloc(50, 0xdd),
      '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe',
    ],
  ];
  for (const [key, message, expected] of cases) assert.equal(hmac(key, message), expected);
});

test('it agrees with node:crypto for keys and messages of any length, again and again', () => {
  for (let n = 0; n < 300; n++) {
    const key = randomBytes(n % 65);
    const message = randomBytes(n);
    assert.equal(hmac(key, message), createHmac('sha256', key).update(message).digest('hex'));
  }
  const prepared = prepareHmac(randomBytes(32), 32);
  const first = hmacHex(prepared);
  prepared.inner.fill(1, prepared.messageAt);
  hmacHex(prepared);
  prepared.inner.fill(0, prepared.messageAt);
  assert.equal(hmacHex(prepared), first);
});

test('a key of more than a block is refused', () => {
  assert.throws(() => prepareHmac(new Uint8Array(65), 1), RangeError);
});
