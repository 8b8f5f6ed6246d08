import assert from 'node:assert/strict';
import test from 'node:test';
import { addressBytes, addressText } from '../../src/http/addresses.ts';

const mapped = [...Array(10).fill(0), 255, 255];

for (const [bytes, text, ...others] of [
  [[127, 0, 0, 1], '127.0.0.1', '::ffff:127.0.0.1', '::FFFF:127.0.0.1'],
  [[255, 254, 1, 0], '255.254.1.0'],
  [[...Array(15).fill(0), 1], '::1', '::1%lo', '0:0:0:0:0:0:0:1'],
  [Array(16).fill(0), '::'],
  [[0xfe, 0x80, ...Array(13).fill(0), 0xa], 'fe80::a', 'fe80::a%eth0'],
  [[0x20, 1, 0xd, 0xb8, ...Array(12).fill(0)], '2001:db8::', '2001:DB8::'],
  [[0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6], '2001:db8:1:2:3:4:5:6'],
] as const) {
  test(`${text} is the text of its bytes, and back`, () => {
    assert.equal(addressText(Uint8Array.from(bytes)), text);
    for (const form of [text, ...others]) assert.deepEqual([...addressBytes(form)], [...bytes], form);
  });
}

test('IPv4 within IPv6 is itself', () => {
  assert.equal(addressText(Uint8Array.from([...mapped, 10, 0, 0, 1])), '10.0.0.1');
});

test('what is no address has no text and no bytes', () => {
  for (const length of [0, 3, 5, 15, 17]) assert.equal(addressText(new Uint8Array(length)), undefined);
  for (const text of [undefined, '', 'localhost', '/run/x.sock']) assert.equal(addressBytes(text).length, 0);
});
