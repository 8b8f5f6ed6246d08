import assert from 'node:assert/strict';
import test from 'node:test';
import { readKeySet } from '../../src/auth/identities/key-set.ts';
import { identityClaimed, identityIn } from '../../src/auth/identities/placed-identity.ts';
import { certificateMappings } from '../../src/config/identity/kinds.ts';
import { callerKey, keySetOf } from '../support/caller-tokens.ts';

function read(
  mapping: string,
  names: { readonly uris?: readonly string[]; readonly dns?: readonly string[]; readonly subject?: string },
): string {
  const mappings = certificateMappings.parse(mapping);
  assert.ok(mappings !== undefined, mapping);
  const found = identityIn({ uris: [], dns: [], subject: '', ...names }, mappings);
  if (found === undefined) return 'none';
  const { tenant, environments, planes, module } = found;
  return [tenant, environments, planes, module].map(String).join(' | ');
}

const uri = 'uri:spiffe://*/{tenant}/{environment}/{plane}/{module}';
const dns = 'dns:{module}.{plane}.{environment}.{tenant}.kms.test';
const subject = 'subject:tenant=O;environment=OU;plane=L;module=CN';

const cases: readonly (readonly [mapping: string, names: Parameters<typeof read>[1], expected: string])[] = [
  [uri, { uris: ['spiffe://corp.test/acme/prod/laptop/m21'] }, 'acme | prod | laptop | m21'],
  [uri, { uris: ['spiffe://corp.test/acme/staging-dev/all/m21'] }, 'acme | dev,staging | all | m21'],
  [uri, { uris: ['https://x', 'spiffe://corp.test/acme/prod/laptop/m21'] }, 'acme | prod | laptop | m21'],
  [
    uri,
    { uris: ['spiffe://a.test/acme/prod/laptop/m21', 'spiffe://b.test/acme/prod/laptop/m21'] },
    'acme | prod | laptop | m21',
  ],
  [uri, { uris: ['spiffe://a.test/acme/prod/laptop/m21', 'spiffe://a.test/other/prod/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/acme/prod/laptop/m21/x'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/x/acme/prod/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe:///acme/prod/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/acme/production/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/acme/prod/moon/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/acme/prod-prod/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/acme/all-prod/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/acme/-/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/Acme/prod/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/%61cme/prod/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/../prod/laptop/m21'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/acme/prod/laptop/m21#x'] }, 'none'],
  [uri, { uris: ['spiffe://corp.test/acme/prod/laptop/m21\n'] }, 'none'],
  [uri, { dns: ['spiffe://corp.test/acme/prod/laptop/m21'] }, 'none'],
  [dns, { dns: ['M21.Laptop.Prod.Acme.KMS.test'] }, 'acme | prod | laptop | m21'],
  [dns, { dns: ['web.test', 'm21.tenant-shared.dev.acme.kms.test'] }, 'acme | dev | tenant,shared | m21'],
  [dns, { dns: ['m21.laptop.prod.acme.kms-test'] }, 'none'],
  [dns, { dns: ['*.laptop.prod.acme.kms.test'] }, 'none'],
  [dns, { dns: ['x.m21.laptop.prod.acme.kms.test'] }, 'none'],
  [dns, { uris: ['m21.laptop.prod.acme.kms.test'] }, 'none'],
  [subject, { subject: 'CN=m21,L=laptop,OU=prod,O=acme,C=DE' }, 'acme | prod | laptop | m21'],
  [
    subject,
    { subject: 'CN=m21,L=laptop,L=shared,OU=prod,OU=dev,O=acme' },
    'acme | dev,prod | laptop,shared | m21',
  ],
  [subject, { subject: 'CN=m21 + L=laptop,OU=prod,O=acme' }, 'acme | prod | laptop | m21'],
  [subject, { subject: 'CN=m21,L=laptop,OU=prod,O=acme,O=other' }, 'none'],
  [subject, { subject: 'CN=m21,CN=m22,L=laptop,OU=prod,O=acme' }, 'none'],
  [subject, { subject: 'CN=m21,L=laptop,OU=prod,OU=people,O=acme' }, 'none'],
  [subject, { subject: 'CN=m21,L=laptop,OU=prod' }, 'none'],
  [subject, { subject: 'CN=m21\\,O=acme,L=laptop,OU=prod' }, 'none'],
  [subject, { subject: 'CN=x\\+O=acme,L=laptop,OU=prod,O=other' }, 'none'],
  [subject, { subject: '' }, 'none'],
  [
    `${uri},${subject}`,
    { uris: ['https://x'], subject: 'CN=m21,L=laptop,OU=prod,O=acme' },
    'acme | prod | laptop | m21',
  ],
  [
    `${subject},${uri}`,
    { uris: ['spiffe://corp.test/acme/prod/laptop/m21'], subject: 'CN=x' },
    'acme | prod | laptop | m21',
  ],
];

for (const [mapping, names, expected] of cases)
  test(`${mapping.slice(0, 20)}… of ${JSON.stringify(names)} is ${expected}`, () => {
    assert.equal(read(mapping, names), expected);
  });

test('claims that are not of their form are no identity, and absent ones say nothing', () => {
  assert.deepEqual(identityClaimed({ tenant_id: 'acme' }), {
    ...{ tenant: 'acme', environments: undefined, planes: undefined, module: undefined },
  });
  const good = { tenant_id: 'acme', environment: 'prod', plane: ['laptop'], module: 'm21', module_id: 'm21' };
  assert.deepEqual(identityClaimed(good), {
    ...{ tenant: 'acme', environments: ['prod'], planes: ['laptop'], module: 'm21' },
  });
  for (const wrong of [
    { tenant_id: ['acme'] },
    { environment: null },
    { environment: { prod: true } },
    { plane: [] },
    { plane: ['all', 'laptop'] },
    { module: 1 },
    { module: 'M21' },
    { module_id: 'm22' },
  ]) {
    assert.equal(identityClaimed({ ...good, ...wrong }), undefined, JSON.stringify(wrong));
  }
});

test('a file of keys has public keys alone, each to be told by its kid', async () => {
  const [one, two] = await Promise.all([callerKey('k1'), callerKey('k2', 'ES256')]);
  const { kid: _, ...nameless } = one.jwk;
  assert.ok(readKeySet(JSON.stringify(keySetOf(one, two))).ok);
  assert.ok(readKeySet(JSON.stringify({ keys: [nameless] })).ok);
  for (const [text, why] of [
    ['', /is not JSON/],
    ['[]', /is no JWK Set/],
    ['null', /is no JWK Set/],
    ['{"keys":[]}', /is no JWK Set/],
    ['{"keys":[],"keys":[{}]}', /a member twice/],
    ['{"keys":["x"]}', /no key/],
    [JSON.stringify({ keys: [{ kty: 'oct', k: 'AAAA' }] }), /not a public one/],
    [JSON.stringify({ keys: [{ ...one.jwk, d: 'AAAA' }] }), /a private key/],
    [JSON.stringify({ keys: [{ ...one.jwk, kid: 1 }] }), /kid that is no text/],
    [JSON.stringify({ keys: [one.jwk, { ...two.jwk, kid: 'k1' }] }), /two keys with one kid/],
    [JSON.stringify({ keys: [two.jwk, nameless] }), /without kid/],
    [JSON.stringify({ keys: Array.from({ length: 101 }, () => one.jwk) }), /1 to 100/],
    [`{"keys":["${'x'.repeat(131_072)}"]}`, /128 KiB/],
  ] as const) {
    const found = readKeySet(text);
    assert.match(found.ok ? 'ok' : found.problem, why, text.slice(0, 80));
    if (!found.ok) assert.ok(!found.problem.includes(one.jwk.x ?? '?'));
  }
});
