import assert from 'node:assert/strict';
import test from 'node:test';
import { parsePolicyFile } from '../../src/config/policy-file.ts';

const knows = (caveat: string) => caveat.startsWith('purpose = ');
const parse = (text: string) => parsePolicyFile(text, knows);

const whole = `
issuers:
  - issuer: https://issuer.test
    audience: intaglio
    algorithms: [ES256]
    jwks_url: http://127.0.0.1:1/jwks
identities:
  - name: payments
    when: { spiffe: "spiffe://example.org/payments/*" }
    grant: { tenant: acme, scopes: ["kms:sign"], ttl_s: 900, caveats: ["purpose = invoices"] }
  - name: ci
    when: { issuer: "https://issuer.test", claims: { role: [deploy, release] } }
    grant: { tenant: acme, scopes: ["kms:verify"], ttl_s: 60 }
  - name: local
    when: { uid: 1000 }
    grant: { tenant: acme, scopes: ["kms:read"], ttl_s: 60 }
rules:
  - effect: deny
    when: { tenant: acme, alg: [rsa-2048, rsa-3072] }
    reason: no RSA
  - effect: allow
    mode: and
    limits: { uses_per_day: 5 }
default: deny
`;

test('a policy file is read whole', () => {
  const read = parse(whole);
  assert.ok(read.ok);
  const { issuers, identities, rules } = read.file;
  assert.deepEqual(issuers, [
    {
      issuer: 'https://issuer.test',
      audience: 'intaglio',
      algorithms: ['ES256'],
      keys: { url: 'http://127.0.0.1:1/jwks' },
    },
  ]);
  assert.deepEqual(
    identities.map(({ name, when }) => [name, when]),
    [
      ['payments', { kind: 'certificate', member: 'spiffe', patterns: ['spiffe://example.org/payments/*'] }],
      [
        'ci',
        {
          kind: 'jwt',
          issuer: 'https://issuer.test',
          subject: ['*'],
          claims: { role: ['deploy', 'release'] },
        },
      ],
      ['local', { kind: 'peer', member: 'uid', id: 1000 }],
    ],
  );
  assert.deepEqual(identities[0]?.grant, {
    tenant: 'acme',
    scopes: ['kms:sign'],
    ttlMs: 900_000,
    caveats: ['purpose = invoices'],
  });
  assert.deepEqual(rules, {
    rules: [
      { effect: 'deny', when: { tenant: ['acme'], alg: ['rsa-2048', 'rsa-3072'] }, reason: 'no RSA' },
      { effect: 'allow', when: {}, mode: 'and', usesPerDay: 5 },
    ],
    otherwise: 'deny',
  });
});

test('an empty file has nothing in it, and rules without a default deny', () => {
  assert.deepEqual(parse(''), { ok: true, file: { issuers: [], identities: [], rules: undefined } });
  const read = parse('rules: []');
  assert.deepEqual(read.ok && read.file.rules, { rules: [], otherwise: 'deny' });
});

const grant = 'grant: { tenant: acme, scopes: ["kms:sign"], ttl_s: 1 }';
const refused: readonly (readonly [what: string, text: string, problem: RegExp])[] = [
  ['no mapping', '[]', /the file is missing or has the wrong type/],
  ['no YAML', 'rules: [', /^line \d+: not valid YAML/],
  ['a member twice', 'default: deny\ndefault: allow', /^line 2: not valid YAML \(DUPLICATE_KEY\)/],
  ['an unknown member', 'rulez: []', /^rulez is not known/],
  ['an unknown member of a rule', 'rules: [{ effect: deny, whom: x }]', /^rules\.0\.whom is not known/],
  ['an unknown effect', 'rules: [{ effect: maybe }]', /^rules\.0\.effect/],
  ['a wildcard within', 'rules: [{ effect: deny, when: { kid: "a*b" } }]', /^rules\.0\.when\.kid/],
  ['an unknown mode', 'rules: [{ effect: allow, mode: xor }]', /^rules\.0\.mode/],
  ['no number', 'rules: [{ effect: allow, limits: { uses_per_day: 0 } }]', /uses_per_day/],
  ['a default without rules', 'default: allow', /default says nothing without rules/],
  ['aliases', 'rules: &a []\nissuers: *a', /aliases are not read/],
  ['tags that run code', 'rules: !!js/function "x"', /./],
  [
    'an identity of an unknown issuer',
    `identities: [{ name: a, when: { issuer: x }, ${grant} }]`,
    /not among issuers/,
  ],
  [
    'two kinds of evidence',
    `identities: [{ name: a, when: { uid: 1, spiffe: x }, ${grant} }]`,
    /identities\.0\.when/,
  ],
  ['no evidence', `identities: [{ name: a, when: {}, ${grant} }]`, /identities\.0\.when/],
  ['a negative uid', `identities: [{ name: a, when: { uid: -1 }, ${grant} }]`, /identities\.0\.when/],
  [
    'a name twice',
    `identities: [{ name: a, when: { uid: 1 }, ${grant} }, { name: a, when: { uid: 2 }, ${grant} }]`,
    /name is there twice/,
  ],
  [
    'a tenant of another form',
    'identities: [{ name: a, when: { uid: 1 }, grant: { tenant: "../x", scopes: ["kms:sign"], ttl_s: 1 } }]',
    /grant\.tenant/,
  ],
  [
    'an unknown scope',
    'identities: [{ name: a, when: { uid: 1 }, grant: { tenant: a, scopes: ["kms:all"], ttl_s: 1 } }]',
    /grant\.scopes/,
  ],
  [
    'no end',
    'identities: [{ name: a, when: { uid: 1 }, grant: { tenant: a, scopes: ["kms:sign"] } }]',
    /ttl_s/,
  ],
  [
    'an unknown caveat',
    'identities: [{ name: a, when: { uid: 1 }, grant: { tenant: a, scopes: ["kms:sign"], ttl_s: 1, caveats: ["x = y"] } }]',
    /caveats\.0 is not a caveat/,
  ],
  [
    'a symmetric algorithm',
    'issuers: [{ issuer: a, audience: b, algorithms: [HS256], jwks_file: f }]',
    /issuers\.0\.algorithms/,
  ],
  [
    'no algorithms',
    'issuers: [{ issuer: a, audience: b, algorithms: [], jwks_file: f }]',
    /issuers\.0\.algorithms/,
  ],
  ['no keys', 'issuers: [{ issuer: a, audience: b, algorithms: [ES256] }]', /jwks_url or jwks_file/],
  [
    'two places of keys',
    'issuers: [{ issuer: a, audience: b, algorithms: [ES256], jwks_file: f, jwks_url: "http://x" }]',
    /jwks_url or jwks_file/,
  ],
  [
    'an issuer twice',
    'issuers: [{ issuer: a, audience: b, algorithms: [ES256], jwks_file: f }, { issuer: a, audience: b, algorithms: [ES256], jwks_file: f }]',
    /issuer is there twice/,
  ],
  [
    'keys over a network in plain HTTP',
    'issuers: [{ issuer: a, audience: b, algorithms: [ES256], jwks_url: "http://issuer.test/jwks" }]',
    /issuers\.0\.jwks_url needs https/,
  ],
  [
    'keys at no address',
    'issuers: [{ issuer: a, audience: b, algorithms: [ES256], jwks_url: "https://" }]',
    /issuers\.0\.jwks_url/,
  ],
  ['more than 1 MiB', `# ${'x'.repeat(1_048_576)}`, /more than 1 MiB/],
];

for (const [what, text, problem] of refused)
  test(`a policy file is refused for ${what}, without a value of it in the words`, () => {
    const read = parse(text);
    assert.ok(!read.ok, 'it was taken');
    assert.match(read.problems.join('\n'), problem);
  });
