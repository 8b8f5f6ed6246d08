import assert from 'node:assert/strict';
import test from 'node:test';
import { Type } from '@sinclair/typebox';
import fc from 'fast-check';
import { kidText, payloadB3 } from '../../src/http/dialects/intaglio/schemas.ts';
import { closed, parseQuery, shapeOf } from '../../src/http/json-requests.ts';

const shape = shapeOf(
  closed({
    kid: kidText,
    payload_b3: payloadB3,
    sigs: Type.Optional(Type.Array(closed({ alg: Type.String() }))),
  }),
);
const good = { kid: 'k', payload_b3: '0'.repeat(64) };
const parse = (text: string | Uint8Array, query = '') => shape.parse({ query, body: Buffer.from(text) });

test('takes what it declares, and nothing else', () => {
  assert.deepEqual(parse(JSON.stringify(good)), { ok: true, value: good });
  for (const bad of [{}, { ...good, x: 1 }, { ...good, kid: '' }, { ...good, sigs: [{ alg: 'a', b: 1 }] }]) {
    assert.equal(parse(JSON.stringify(bad)).ok, false);
  }
  assert.equal(parse(JSON.stringify(good), 'a=1').ok, false);
});

test('says where it is wrong', () => {
  const hintOf = (value: unknown) => {
    const parsed = parse(JSON.stringify(value));
    return parsed.ok ? undefined : parsed.failure.hint;
  };
  assert.equal(
    hintOf({ ...good, sigs: [{ alg: 1 }] }),
    'sigs.0.alg is missing or has the wrong type or form',
  );
  assert.equal(hintOf({ ...good, sigs: [{ alg: '', x: 1 }] }), 'unknown member in sigs.0');
  assert.equal(hintOf([]), 'the body is missing or has the wrong type or form');
});

test('whatever comes is parsed or refused, without a throw and without an echo', () => {
  const canary = 'kanarienvogel';
  const key = fc.oneof(
    fc.constantFrom(...Object.keys(good), 'sigs', 'alg', '__proto__', 'constructor', `${canary}/~1`),
    fc.string().map((text) => canary + text),
  );
  const leaf = fc.oneof(
    fc.string().map((text) => canary + text),
    fc.double(),
    fc.constant(null),
    fc.boolean(),
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ depthSize: 'small' }, leaf, fc.dictionary(key, tie('tree')), fc.array(tie('tree'))),
  }));
  fc.assert(
    fc.property(tree, fc.boolean(), (value, merged) => {
      const sent = merged && typeof value === 'object' ? { ...good, ...value } : value;
      const parsed = parse(JSON.stringify(sent));
      if (!parsed.ok) {
        assert.equal(parsed.failure.code, 'BadRequest');
        assert.ok(!(parsed.failure.hint ?? '').includes(canary));
      }
    }),
    { numRuns: 1_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      assert.equal(parse(bytes).ok, false);
    }),
  );
});

test('query parameters: only the named ones, each once, whatever is sent', () => {
  assert.deepEqual(parseQuery('a=1&b=%2F', ['a', 'b']), { ok: true, value: { a: '1', b: '/' } });
  assert.deepEqual(parseQuery('', ['a']), { ok: true, value: {} });
  for (const bad of ['a=1&a=1', 'c=1', 'A=1', '__proto__=1', 'toString=1', 'a=1&', '&', '=']) {
    const parsed = parseQuery(bad, ['a', 'b']);
    if (bad === 'a=1&' || bad === '&') assert.equal(parsed.ok, true, bad);
    else assert.equal(parsed.ok, false, bad);
  }
  fc.assert(
    fc.property(fc.string(), (query) => {
      const parsed = parseQuery(query, ['a', 'b']);
      if (parsed.ok) assert.ok(Object.keys(parsed.value).every((name) => name === 'a' || name === 'b'));
    }),
  );
});
