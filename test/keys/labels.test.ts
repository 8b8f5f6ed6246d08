import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { algorithmNames } from '../../src/algorithms/registry.ts';
import { isUuid } from '../../src/keys/kid.ts';
import {
  type DerivationContext,
  derivationLabel,
  isDerivationContext,
  sealingLabel,
  uuidOf,
} from '../../src/keys/labels.ts';

const names = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,62}$/);
const contextParts = fc.stringMatching(/^[A-Za-z0-9._~-]{1,128}$/);
const inputs = fc.record({
  tenant: names,
  purpose: names,
  alg: fc.constantFrom(...algorithmNames),
  origin: contextParts,
  instance: contextParts,
  epoch: fc.maxSafeNat(),
});
type Input = typeof inputs extends fc.Arbitrary<infer T> ? T : never;

const labelOf = ({ tenant, purpose, alg, ...context }: Input) => {
  assert.ok(isDerivationContext(context));
  return derivationLabel(tenant, purpose, alg, context);
};

test('a label is that of the published form', () => {
  const context = { origin: 'edge.example', instance: 'a~1', epoch: 2 ** 53 - 1 };
  assert.equal(
    derivationLabel('acme', 'web', 'aes-256-gcm', context),
    'ron-kms::acme::web::derive::aes-256-gcm::edge.example::a~1::9007199254740991',
  );
  assert.equal(derivationLabel('a', 'b', 'c', { ...context, epoch: -0 }).endsWith('::0'), true);
  const uuid = '3f0c2b1e-8a4d-4c55-9b57-5d1f3f6f0a11';
  assert.equal(sealingLabel('acme', 'web', uuid, 7), `ron-kms::acme::web::seal::${uuid}#v7`);
});

test('two different inputs never have the same label', () => {
  fc.assert(
    fc.property(inputs, inputs, (one, other) => {
      assert.equal(labelOf(one) === labelOf(other), isSame(one, other));
    }),
    { numRuns: 2_000 },
  );
  // The same pieces, cut differently: what a form without separators would confuse.
  const short = fc.stringMatching(/^[a-z0-9]{1,2}$/);
  const confusable = fc.record({
    ...{ tenant: short, purpose: short, alg: fc.constantFrom('ed25519', 'x25519') },
    ...{ origin: short, instance: short, epoch: fc.nat(20) },
  });
  fc.assert(
    fc.property(confusable, confusable, (one, other) => {
      assert.equal(labelOf(one) === labelOf(other), isSame(one, other));
    }),
    { numRuns: 20_000 },
  );
});

function isSame(one: Input, other: Input): boolean {
  return (Object.keys(one) as (keyof Input)[]).every((name) => one[name] === other[name]);
}

test('the label gives its input back', () => {
  fc.assert(
    fc.property(inputs, (input) => {
      const [root, tenant, purpose, kind, alg, origin, instance, epoch, surplus] = labelOf(input).split('::');
      assert.deepEqual({ tenant, purpose, alg, origin, instance, epoch: Number(epoch) }, { ...input });
      assert.deepEqual([root, kind, surplus], ['ron-kms', 'derive', undefined]);
    }),
  );
});

test('another character, a length or a number beyond the bounds is no context', () => {
  const good: DerivationContext = { origin: 'o', instance: 'i', epoch: 0 };
  assert.ok(isDerivationContext(good));
  assert.ok(isDerivationContext({ ...good, origin: 'a'.repeat(128), epoch: 2 ** 53 - 1 }));
  for (const text of [
    '',
    'a'.repeat(129),
    'a:b',
    '::',
    'a b',
    'a\n',
    '\n',
    'ä',
    'a/b',
    'a%20',
    'a\0',
    '#v1',
    'a+b',
  ])
    for (const part of ['origin', 'instance'])
      assert.ok(!isDerivationContext({ ...good, [part]: text }), text);
  for (const epoch of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])
    assert.ok(!isDerivationContext({ ...good, epoch }), String(epoch));
});

test('a UUID of names is the same on every node, of version 8, and another for other names', () => {
  const uuid = uuidOf('acme/web/hkdf-sha256/x#v1', 'label');
  assert.equal(uuid, uuidOf('acme/web/hkdf-sha256/x#v1', 'label'));
  assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.ok(isUuid(uuid));
  assert.notEqual(uuid, uuidOf('acme/web/hkdf-sha256/x#v2', 'label'));
  assert.notEqual(uuidOf('a', 'b'), uuidOf('ab'));
  assert.equal(uuidOf('a', 'b'), '59b271ae-1bbc-81d3-9d41-929817f4b16f');
});
