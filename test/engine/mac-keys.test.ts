import assert from 'node:assert/strict';
import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import test from 'node:test';
import { extractMacKey, softwareMacKey } from '../../src/core/mac-key.ts';
import { availableEngines } from '../support/engines.ts';

const hmac = (key: Uint8Array, message: Uint8Array) => createHmac('sha256', key).update(message).digest();

for (const { name, create } of availableEngines()) {
  const engine = create();
  const secret = randomBytes(32);
  const ref = engine.extractMacKey(Uint8Array.from(secret), 'salt');
  const key = engine.macKey(ref);
  const expected = hmac(Buffer.from('salt'), secret);

  test(`${name}: a MAC key is what HKDF-Extract makes of the secret, which is wiped`, () => {
    const given = Uint8Array.from(secret);
    const again = engine.macKey(engine.extractMacKey(given, 'salt'));
    assert.deepEqual(given, new Uint8Array(32));
    for (const length of [0, 1, 55, 64, 164, 511, 512, 513, 5_000]) {
      const message = randomBytes(length);
      assert.deepEqual(key.mac(message), hmac(expected, message), `${length}`);
      assert.deepEqual(again.mac(message), key.mac(message));
    }
  });

  test(`${name}: each MAC of a chain is the key of the next`, () => {
    const messages = [randomBytes(16), Buffer.alloc(0), randomBytes(700)];
    assert.deepEqual(key.mac(...messages), messages.reduce(hmac, expected));
  });

  test(`${name}: expanding and deriving are HKDF of RFC 5869`, () => {
    const hkdf = (ikm: Uint8Array, salt: string, info: string) =>
      new Uint8Array(hkdfSync('sha256', ikm, salt, info, 32));
    const message = randomBytes(164);
    const expanded = hkdf(secret, 'salt', 'intaglio/one/v1');
    assert.deepEqual(key.expand('intaglio/one/v1').mac(message), hmac(expanded, message));
    const tenant = hkdf(expanded, '', 'tenant\0k1');
    assert.deepEqual(key.derive('intaglio/one/v1').expand('tenant\0k1').mac(message), hmac(tenant, message));
  });

  test(`${name}: what is no MAC key, and a chain of nothing, is refused`, () => {
    assert.throws(() => engine.macKey(2 ** 31).mac(Buffer.of(1)));
    assert.throws(() => (key.mac as () => unknown)());
  });
}

test('HMAC-SHA-256 in ordinary memory has the values of RFC 4231', () => {
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
  for (const [key, message, expected] of cases) {
    assert.equal(softwareMacKey(key).mac(message).toString('hex'), expected);
  }
});

test('it agrees with node:crypto for keys and messages of any length; longer keys are refused', () => {
  for (let n = 0; n < 300; n++) {
    const [key, message] = [randomBytes(n % 65), randomBytes(3 * n)];
    assert.deepEqual(softwareMacKey(key).mac(message), hmac(key, message));
  }
  assert.throws(() => softwareMacKey(new Uint8Array(65)), RangeError);
  assert.deepEqual(extractMacKey(Buffer.from('secret'), ''), hmac(Buffer.alloc(0), Buffer.from('secret')));
});
