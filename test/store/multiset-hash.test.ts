import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { softwareMacKey } from '../../src/core/mac-key.ts';
import { MultisetHash } from '../../src/store/multiset-hash.ts';

const key = softwareMacKey(Buffer.from(Array.from({ length: 32 }, (_, byte) => byte)));
const nonce = Buffer.alloc(32, 7);
const element = (text: string) => Buffer.from(text);

/** Made with Python's hmac and integers, from the definition in the paper. */
const vectors: readonly (readonly [readonly string[], string])[] = [
  [[], 'b9950efdde62562048b9a445952584d0f8a10fd746dcbef70cdd2a72b1bf1611'],
  [['a'], '69a1deb8b8f797c208337c773fbe5c86ae62771195e9c3ef6f826f5fabc1609a'],
  [['a', 'b'], '12783cf401d914251c69813bb74151d249d99154533b02e65aa09d698bb9ab14'],
  [['a', 'a'], '19aeae73938cd963c7ad54a8ea57343c6423de4be4f6c8e7d227b44ca5c3ab23'],
  [
    Array.from({ length: 300 }, (_, n) => `element ${n}`),
    '7d5a062b98d2c59201769caaeb0bb6acba50b6a43dc480cc311b0cbf33db04b0',
  ],
];

test('MSet-Add-Hash with HMAC-SHA-256 gives what an independent computation gives', () => {
  for (const [elements, expected] of vectors) {
    const multiset = new MultisetHash(key);
    for (const text of elements) multiset.add(element(text));
    assert.equal(multiset.hash(nonce).toString('hex'), expected);
    assert.equal(multiset.count, elements.length);
  }
});

test('neither order nor what came and went counts, and a hash can be carried on from its bytes', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd');
  fc.assert(
    fc.property(
      fc.array(name),
      fc.array(name),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      (kept, gone, other) => {
        const one = new MultisetHash(key);
        for (const text of [...gone, ...kept]) one.add(element(text));
        const middle = MultisetHash.of(key, one.hash(other), one.count, other);
        for (const text of gone) middle.remove(element(text));
        const direct = new MultisetHash(key);
        for (const text of kept.toReversed()) direct.add(element(text));
        assert.deepEqual(middle.hash(nonce), direct.hash(nonce));
        assert.equal(middle.count, direct.count);
      },
    ),
  );
});

test('an element that is there twice is not one that is not there', () => {
  const twice = new MultisetHash(key);
  for (let n = 0; n < 2; n++) twice.add(element('a'));
  assert.notDeepEqual(twice.hash(nonce), new MultisetHash(key).hash(nonce));
});
