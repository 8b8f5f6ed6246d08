import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { registry } from '../../src/algorithms/registry.ts';
import { formatId, formatKid, isPurpose, isTenant, maxVersion, parseKid } from '../../src/keys/kid.ts';

const labelChars = [...'abcdefghijklmnopqrstuvwxyz0123456789'];
const labels = fc
  .tuple(
    fc.constantFrom(...labelChars),
    fc.array(fc.constantFrom(...labelChars, '.', '_', '-'), { maxLength: 62 }),
  )
  .map(([first, rest]) => first + rest.join(''));
const versions = fc.integer({ min: 1, max: maxVersion });
const ids = fc
  .tuple(labels, labels, fc.constantFrom(...registry), fc.uuid())
  .map(([tenant, purpose, algorithm, uuid]) => formatId(tenant, purpose, algorithm, uuid));
const example = 'acme/invoices/ed25519+ml-dsa-65/0196c1d2-7a3b-7c4d-8e5f-0123456789ab';

test('a kid survives being written and read', () => {
  fc.assert(
    fc.property(
      labels,
      labels,
      fc.constantFrom(...registry),
      fc.uuid(),
      versions,
      (tenant, purpose, algorithm, uuid, version) => {
        const id = formatId(tenant, purpose, algorithm, uuid);
        assert.deepEqual(parseKid(id), { id, tenant, purpose, algorithm, uuid });
        assert.deepEqual(parseKid(formatKid(id, version)), { id, tenant, purpose, algorithm, uuid, version });
        assert.ok(isTenant(tenant) && isPurpose(purpose));
      },
    ),
  );
});

test('an altered kid is refused or is another kid, and never throws', () => {
  const edits = fc.tuple(fc.nat(300), fc.nat(4), fc.string({ unit: 'binary', maxLength: 4 }));
  fc.assert(
    fc.property(ids, versions, fc.array(edits, { minLength: 1, maxLength: 4 }), (id, version, changes) => {
      let text = formatKid(id, version);
      for (const [at, removed, inserted] of changes) {
        text = text.slice(0, at) + inserted + text.slice(at + removed);
      }
      const kid = parseKid(text);
      if (kid !== undefined) {
        assert.equal(kid.version === undefined ? kid.id : formatKid(kid.id, kid.version), text);
      }
    }),
  );
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => void parseKid(text)));
});

test('texts that only resemble a kid are refused', () => {
  const bad = [
    '',
    '/',
    '///',
    `/${example}`,
    `${example}/`,
    `${example}/x`,
    `${example} `,
    ` ${example}`,
    `${example}\n`,
    `${example}\0`,
    example.toUpperCase(),
    example.replaceAll('/', '%2F'),
    example.replace('0196c1d2-', '0196c1d2'),
    example.replace('0196', '0196 '),
    example.replace('ed25519+ml-dsa-65', 'ml-dsa'), // an alias is no canonical name
    example.replace('ed25519+ml-dsa-65', 'none'),
    example.replace('ed25519+ml-dsa-65', '__proto__'),
    example.replace('ed25519+ml-dsa-65', 'constructor'),
    example.replace('acme', '.acme'),
    example.replace('acme', ''),
    example.replace('acme', 'a'.repeat(64)),
    example.replace('invoices', 'a'.repeat(64)),
    example.replace('invoices', 'in voices'),
    example.replace('acme', 'аcme'), // Cyrillic
    ...['#', '#v', '#v0', '#v01', '#v-1', '#v+1', '#v1.0', '#v1e3', '#v 1', '#v1 ', '#V1', '#1'].map(
      (v) => example + v,
    ),
    ...['#v1#v1', '##v1', '#v1/', '%23v1', '#v2147483648', '#v9999999999', '#v10000000000', '#v１'].map(
      (v) => example + v,
    ),
    `${example}#v${'1'.repeat(100_000)}`,
    '/'.repeat(100_000),
    'a'.repeat(1_000_000),
  ];
  for (const text of bad) assert.equal(parseKid(text), undefined, JSON.stringify(text.slice(0, 100)));
  assert.equal(parseKid(`${example}#v2147483647`)?.version, maxVersion);
});
