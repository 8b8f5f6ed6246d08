import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { hasRepeatedMember } from '../../src/core/repeated-members.ts';

const repeats = (text: string) => hasRepeatedMember(text, JSON.parse(text));

test('a member that is named twice is found, at any depth and however it is spelled', () => {
  for (const text of [
    '{"a":1,"a":2}',
    '{"a":1,"a":1}',
    String.raw`{"a":1,"\u0061":1}`,
    '{"b":{"c":[{"d":1,"d":2}]}}',
    '[{"a":1},{"a":1,"a":1}]',
    '{"__proto__":1,"__proto__":2}',
    '{"1":1,"1":2}',
    // Dropped with the first one.
    '{"a":{"b":1},"a":{"c":2}}',
  ]) {
    assert.ok(repeats(text), text);
  }
});

test('whatever JSON.stringify writes has none', () => {
  fc.assert(
    fc.property(fc.json(), fc.constantFrom(0, 2), (text, indent) => {
      assert.ok(!repeats(JSON.stringify(JSON.parse(text), undefined, indent)));
    }),
  );
  for (const text of [
    '{"a:b":"c\\":\\"d\\\\","e":"\\\\\\\\"}',
    '{}',
    '[]',
    '"a:b"',
    '1',
    'null',
    '{"__proto__":{"a":1}}',
  ])
    assert.ok(!repeats(text), text);
});

test('a text that is nested deeper than the stack is looked at as well', () => {
  const depth = 100_000;
  assert.ok(!repeats('['.repeat(depth) + ']'.repeat(depth)));
  assert.ok(repeats(`${'['.repeat(depth)}{"a":1,"a":1}${']'.repeat(depth)}`));
});
