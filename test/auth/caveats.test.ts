import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createMacaroonAuthenticator, type MacaroonOptions } from '../../src/auth/macaroon/authenticator.ts';
import { caveatNames, parseCaveat } from '../../src/auth/macaroon/caveats.ts';
import { StoreLedger } from '../../src/auth/macaroon/ledger.ts';
import { LimitCounters } from '../../src/auth/macaroon/limits.ts';
import { attenuateToken, mintToken } from '../../src/auth/macaroon/mint.ts';
import { type Peer, peerAt } from '../../src/core/peer.ts';
import type { Refused } from '../../src/core/result.ts';
import type { CallConditions, CallFacts } from '../../src/core/scope.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { bearing } from '../support/credentials.ts';

const rootKey = randomBytes(32);
const utcMs = Date.UTC(2027, 0, 15, 12);
const clock = { utcMs: () => utcMs, monotonicMs: () => nowMs };
let nowMs = 0;

const key = `acme/signing/ed25519/${randomUUID()}`;
const other = `acme/signing/ed25519/${randomUUID()}`;
const digest = 'a'.repeat(64);
const otherDigest = 'b'.repeat(64);

function mint(...caveats: string[]): string {
  const minted = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign'], caveats });
  assert.ok(minted.ok, caveats.join());
  return minted.value;
}

function subject(options: Partial<MacaroonOptions> = {}) {
  return createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0, clock, ...options });
}

const certificate = {
  spiffe: 'spiffe://corp.example/payments',
  dns: ['payments.corp.example', 'Second.corp.example'],
  uris: ['spiffe://corp.example/payments'],
  subject: 'CN=payments,O=Corp\\, Inc.',
  sha256: digest,
};
const peer: Peer = { ...peerAt('tls', '10.1.2.3'), certificate, uid: 1001 };

/** Caveats on the connection and the head of a request, with a peer that fits and others that do not. */
const requestCases: readonly {
  readonly caveat: string;
  readonly holds: readonly Partial<Peer>[];
  readonly fails: readonly Partial<Peer>[];
}[] = [
  {
    caveat: 'address = 10.1.2.3',
    holds: [peer, { address: '::ffff:10.1.2.3' }],
    fails: [{}, { address: '10.1.2.4' }, { address: '' }, { address: '::1' }, { address: 'unix' }],
  },
  {
    caveat: 'address = 10.0.0.0/8,2001:db8::/32',
    holds: [peer, { address: '10.255.255.255' }, { address: '2001:db8::1' }],
    fails: [{ address: '11.0.0.0' }, { address: '2001:db9::1' }, { address: '9.255.255.255' }],
  },
  {
    caveat: 'spiffe = spiffe://corp.example/payments',
    holds: [peer],
    fails: [
      {},
      { certificate: { ...certificate, spiffe: undefined } },
      { certificate: { ...certificate, spiffe: 'spiffe://corp.example/payments/x' } },
    ],
  },
  {
    caveat: 'dns = second.corp.example',
    holds: [peer],
    fails: [
      {},
      { certificate: { ...certificate, dns: [] } },
      { certificate: { ...certificate, dns: ['x.corp.example'] } },
    ],
  },
  {
    caveat: 'subject = CN=payments,O=Corp\\, Inc.',
    holds: [peer],
    fails: [{}, { certificate: { ...certificate, subject: 'CN=payments' } }],
  },
  {
    caveat: `cert_sha256 = ${digest}`,
    holds: [peer],
    fails: [{}, { address: '10.1.2.3' }, { certificate: { ...certificate, sha256: otherDigest } }],
  },
  {
    caveat: 'peer_uid = 1001',
    holds: [peer, { uid: 1001 }],
    fails: [{}, { uid: 0 }, { uid: 100 }],
  },
  {
    caveat: 'peer_uid = 0,1001',
    holds: [{ uid: 0 }, { uid: 1001 }],
    fails: [{ uid: 1 }],
  },
];

for (const { caveat, holds, fails } of requestCases) {
  test(`${caveat}: ${holds.length} connections on which it holds, ${fails.length} on which it does not`, () => {
    const authenticator = subject();
    const token = mint(caveat);
    const on = (one: Partial<Peer>) =>
      authenticator.authenticate({ token, peer: () => ({ ...peerAt('tcp', ''), ...one }) }, { utcMs });
    for (const one of holds) assert.ok(on(one).ok, JSON.stringify(one));
    for (const one of fails) assertRefused(on(one), 'Unauthenticated');
    // Where the listener knows nothing.
    assertRefused(authenticator.authenticate(bearing(token), { utcMs }), 'Unauthenticated');
  });
}

test('max_body_bytes refuses longer bodies, and those of unknown length', () => {
  const authenticator = subject();
  const token = mint('max_body_bytes = 100');
  for (const bodyBytes of [0, 1, 100])
    assert.ok(authenticator.authenticate(bearing(token), { utcMs, bodyBytes }).ok);
  assertRefused(authenticator.authenticate(bearing(token), { utcMs, bodyBytes: 101 }), 'TooLarge');
  assertRefused(authenticator.authenticate(bearing(token), { utcMs }), 'TooLarge');
});

test('audience holds for the service of that name alone', () => {
  const token = mint('audience = kms.corp.example,other');
  assert.ok(subject({ audience: 'kms.corp.example' }).authenticate(bearing(token), { utcMs }).ok);
  assertRefused(subject({ audience: 'kms' }).authenticate(bearing(token), { utcMs }), 'Unauthenticated');
  assertRefused(subject().authenticate(bearing(token), { utcMs }), 'Unauthenticated');
});

function conditionsOf(...caveats: string[]): CallConditions {
  const store = new MemoryStore();
  const caller = subject({ ledger: new StoreLedger(store, clock) }).authenticate(bearing(mint(...caveats)), {
    utcMs,
  });
  assert.ok(caller.ok && caller.value.conditions !== undefined);
  return caller.value.conditions;
}

const call: CallFacts = { operation: 'sign', kids: [key], payloadB3: digest, changes: false };
const making: CallFacts = {
  ...{ operation: 'create', kids: [], purpose: 'signing', alg: 'ed25519', changes: true },
  requestSha256: () => digest,
};
const naming = (...kids: string[]): CallFacts => ({ ...call, kids });

/** Caveats on calls: those permitted, those refused as not permitted, and those refused as if the key did not exist. */
const callCases: readonly {
  readonly caveat: string;
  readonly permits: readonly CallFacts[];
  readonly forbids?: readonly CallFacts[];
  readonly hides?: readonly CallFacts[];
}[] = [
  {
    caveat: 'operation = sign,verify',
    permits: [call, { ...call, operation: 'verify' }],
    forbids: [making, { ...call, operation: 'sign_batch' }, { ...call, operation: 'signs' }],
  },
  {
    caveat: `kid = ${key}`,
    permits: [call, naming(`${key}#v1`), naming(key, `${key}#v2`)],
    forbids: [making, { ...call, kids: [] }],
    hides: [naming(other), naming(key, other), naming(`${key}x`), naming('nonsense')],
  },
  {
    caveat: `kid = ${key}#v2`,
    permits: [naming(`${key}#v2`)],
    hides: [call, naming(`${key}#v1`), naming(`${key}#v22`)],
  },
  {
    caveat: 'kid_prefix = acme/signing/',
    permits: [call, naming(other), making, { ...making, alg: undefined }],
    forbids: [
      { ...making, purpose: 'sign' },
      { ...making, purpose: undefined },
    ],
    hides: [naming(key.replace('signing', 'other')), naming(key.replace('acme', 'evil'))],
  },
  {
    caveat: `kid_prefix = ${key.slice(0, 30)}`,
    permits: [call],
    forbids: [making],
    hides: [naming(key.slice(0, 29))],
  },
  {
    caveat: 'purpose = signing,billing',
    permits: [call, making, { ...making, purpose: 'billing' }],
    forbids: [
      { ...making, purpose: 'sign' },
      { ...making, purpose: undefined },
      { ...call, kids: [] },
    ],
    hides: [naming(key.replace('signing', 'other')), naming('acme'), naming('signing')],
  },
  {
    caveat: 'alg = ed25519+ml-dsa-65,ed25519',
    permits: [call, making],
    forbids: [
      { ...making, alg: 'ml-dsa-65' },
      { ...making, alg: undefined },
    ],
    hides: [naming(key.replace('ed25519', 'rsa-2048')), naming('acme/ed25519')],
  },
  {
    caveat: `payload_b3 = ${digest},${otherDigest}`,
    permits: [call, { ...call, payloadB3: otherDigest }],
    forbids: [{ ...call, payloadB3: 'c'.repeat(64) }, { ...call, payloadB3: undefined }, making],
  },
  {
    caveat: 'op_id = 11111111-2222-4333-8444-5555555555aa',
    permits: [
      { ...call, opId: '11111111-2222-4333-8444-5555555555aa' },
      { ...call, opId: '11111111-2222-4333-8444-5555555555AA' },
    ],
    forbids: [call, { ...call, opId: '11111111-2222-4333-8444-5555555555ab' }],
  },
  {
    caveat: `request_sha256 = ${digest}`,
    permits: [making],
    forbids: [call, { ...making, requestSha256: () => otherDigest }],
  },
];

for (const { caveat, permits, forbids = [], hides = [] } of callCases) {
  const counts = `${permits.length} calls permitted, ${forbids.length} refused, ${hides.length} hidden`;
  test(`${caveat.slice(0, 60)}: ${counts}`, () => {
    const conditions = conditionsOf(caveat);
    for (const facts of permits) assert.equal(conditions.refusal(facts), undefined, JSON.stringify(facts));
    for (const facts of forbids) assertRefused(conditions.refusal(facts), 'NoCapability', facts);
    // The very answer of a key that is not there.
    for (const facts of hides)
      assert.deepEqual(conditions.refusal(facts), { ok: false, failure: { code: 'NotFound' } });
  });
}

test('caveats of one name all hold', () => {
  const conditions = conditionsOf('purpose = signing,billing', 'purpose = signing', 'operation = sign');
  assert.equal(conditions.refusal(call), undefined);
  assertRefused(conditions.refusal({ ...call, kids: [key.replace('signing', 'billing')] }), 'NotFound');
  assertRefused(conditions.refusal({ ...call, operation: 'verify' }), 'NoCapability');
});

test('rate counts requests, and the items of batches', () => {
  nowMs = 0;
  const authenticator = subject();
  const token = mint('rate = 10/s');
  const ask = () => authenticator.authenticate(bearing(token), { utcMs });
  const first = ask();
  assert.ok(first.ok && first.value.conditions !== undefined);
  assert.equal(first.value.conditions.use(call, 8), undefined);
  assert.ok(ask().ok && ask().ok);
  assertRefused(ask(), 'RateLimited');
  nowMs = 100;
  assert.ok(ask().ok);
  const late = ask();
  assertRefused(late, 'RateLimited');
  assert.equal(late.failure.retryAfterMs, 100);
});

test('attenuating further does not renew a rate, and a narrower one counts for itself', () => {
  nowMs = 0;
  const authenticator = subject();
  const rated = ['rate = 2/s'];
  const identified = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign'], caveats: rated });
  assert.ok(identified.ok);
  const token = identified.value;
  const narrow = (caveat: string) => {
    const narrowed = attenuateToken(token, { caveats: [caveat] });
    assert.ok(narrowed.ok);
    return authenticator.authenticate(bearing(narrowed.value), { utcMs });
  };
  assert.ok(narrow('operation = sign').ok);
  assert.ok(narrow('operation = verify').ok);
  assertRefused(narrow('operation = create'), 'RateLimited');
  assertRefused(authenticator.authenticate(bearing(token), { utcMs }), 'RateLimited');
});

test('cost_us lets a debt be waited for', () => {
  nowMs = 0;
  const conditions = conditionsOf('cost_us = 1000/s');
  assert.equal(conditions.spend(400), undefined);
  assert.equal(conditions.spend(5_000), undefined);
  const refused = conditions.spend(1);
  assertRefused(refused, 'RateLimited');
  nowMs = 4_000;
  assertRefused(conditions.spend(1), 'RateLimited');
  nowMs = 4_500;
  assert.equal(conditions.spend(1), undefined);
});

test('max_uses ends after so many calls, of which those that change something are counted on disk', async () => {
  const store = new MemoryStore();
  const token = mint('max_uses = 3');
  const open = () => {
    const caller = subject({ ledger: new StoreLedger(store, clock) }).authenticate(bearing(token), { utcMs });
    assert.ok(caller.ok && caller.value.conditions !== undefined);
    return caller.value.conditions;
  };
  const before = open();
  assert.equal(await before.use(making, 1), undefined);
  assert.equal(before.use(call, 1), undefined);
  assert.equal(await before.use(making, 1), undefined);
  assertRefused(await before.use(call, 1), 'NoCapability');
  // After a restart the two changes still count, and the signature does not.
  const after = open();
  assert.equal(await after.use(making, 1), undefined);
  assertRefused(await after.use(making, 1), 'NoCapability');
});

test('uses are kept as long as the capability as it was minted, whatever was attenuated from it', async () => {
  const store = new MemoryStore();
  const expiresAtMs = utcMs + 86_400_000;
  const minted = mintToken({
    rootKey,
    tenant: 'acme',
    scopes: ['kms:sign'],
    expiresAtMs,
    caveats: ['max_uses = 3'],
  });
  assert.ok(minted.ok);
  const short = attenuateToken(minted.value, { expiresAtMs: utcMs + 1_000 });
  assert.ok(short.ok);
  const caller = subject({ ledger: new StoreLedger(store, clock) }).authenticate(bearing(short.value), {
    utcMs,
  });
  assert.ok(caller.ok);
  assert.equal(await caller.value.conditions?.use(making, 1), undefined);
  const entries = await store.list({ prefix: 'auth/uses/', limit: 10 });
  assert.ok(entries.ok);
  const [entry] = entries.value;
  assert.deepEqual(JSON.parse(Buffer.from(entry?.value ?? []).toString()), {
    count: 1,
    expires_at_ms: expiresAtMs,
  });
});

test('a use that would be one too many of a batch counts nothing', async () => {
  const conditions = conditionsOf('max_uses = 3');
  assertRefused(await conditions.use(call, 4), 'NoCapability');
  assert.equal(conditions.use(call, 3), undefined);
  assertRefused(await conditions.use(call, 1), 'NoCapability');
});

test('a tenant that counts many capabilities leaves room for the others', () => {
  const counters = new LimitCounters(clock);
  const count = (name: string, tenant: string) =>
    counters.use({ kind: 'max_uses', count: 2, name }, 1, Number.POSITIVE_INFINITY, tenant);
  for (let n = 0; n < 70_000; n++) count(`flood ${n}`, 'acme');
  assertRefused(count('one more', 'acme'), 'RateLimited');
  assert.equal(count('of another', 'other'), undefined);
  // Those that are counted stay so.
  assert.equal(count('flood 0', 'acme'), undefined);
  assertRefused(count('flood 0', 'acme'), 'NoCapability');
});

test('a tenant has its room again when what it counted has expired', () => {
  let utcMs = 0;
  const counters = new LimitCounters({ utcMs: () => utcMs, monotonicMs: () => utcMs });
  const count = (name: string) =>
    counters.use({ kind: 'max_uses', count: 2, name }, 1, utcMs + 1_000, 'acme');
  let n = 0;
  while (count(`flood ${n}`) === undefined) n++;
  utcMs = 2_000;
  assert.equal(count('one more'), undefined);
});

test('many changes at once are not more than max_uses allows', async () => {
  const conditions = conditionsOf('max_uses = 5');
  const used = await Promise.all(Array.from({ length: 20 }, () => conditions.use(making, 1)));
  assert.equal(used.filter((refused) => refused === undefined).length, 5);
});

test('without a ledger a use that must be on disk is refused', async () => {
  const caller = subject().authenticate(bearing(mint('max_uses = 3')), { utcMs });
  assert.ok(caller.ok);
  assertRefused(await caller.value.conditions?.use(making, 1), 'StoreUnavailable');
});

test('values that are not exactly of their form are refused, each where a good one is taken', () => {
  const cases: Readonly<Record<string, readonly [good: string, ...bad: string[]]>> = {
    tenant: ['acme', 'Acme', ''],
    scope: ['kms:sign', 'kms:all'],
    not_before: ['2027-01-01T00:00:00Z', '2027'],
    expires: ['2027-01-01T00:00:00Z', 'never'],
    audience: ['kms', 'a b', 'a,a', 'a,', ''],
    address: [
      '10.0.0.0/8',
      '10.0.0.0/33',
      '10.0.0',
      'localhost',
      '::1/129',
      '10.0.0.1/',
      '10.0.0.1/08',
      '10.0.0.1 ',
      'fe80::1%eth0',
    ],
    spiffe: ['spiffe://a/b', 'https://a/b', 'spiffe://', 'spiffe://A/b', '*'],
    dns: ['a.example', 'A.example', '-a', ''],
    subject: ['CN=a, O=b'],
    cert_sha256: [digest, digest.toUpperCase(), digest.slice(1), `${digest},`],
    peer_uid: ['0', '01', '-1', 'root', '1.0'],
    max_body_bytes: ['1', '0', '01', '1e3', '1000000000'],
    environment: ['dev,prod', 'prod,prod', 'production', 'Prod', 'all', ''],
    plane: ['laptop,tenant,product,shared', 'cloud', 'laptop, tenant', '*'],
    module: ['m21', 'M21', 'm21,m23', ''],
    operation: ['sign', 'Sign', 'sign verify', 'sign,,verify'],
    payload_b3: [digest, digest.slice(1)],
    op_id: ['11111111-2222-4333-8444-5555555555aa', '11111111-2222-4333-8444-5555555555AA', '1'],
    request_sha256: [digest, digest.slice(1)],
    kid: [key, `${key} `, 'Acme/x', ''],
    kid_prefix: ['acme/', '/acme', '*'],
    purpose: ['signing', 'Signing', 'a/b'],
    alg: ['ed25519+ml-dsa-65', 'ED25519'],
    rate: ['100/s', '100', '0/s', '100/m', '1.5/s', '/s'],
    cost_us: ['5000/s', '5000', '-1/s'],
    max_uses: ['3', '0', '3/s'],
    approver: ['cap:0123456789abcdef', 'cap:1', '0123456789abcdef'],
  };
  assert.deepEqual(Object.keys(cases).sort(), [...caveatNames].sort());
  for (const [name, [good, ...bad]] of Object.entries(cases)) {
    assert.notEqual(parseCaveat(`${name} = ${good}`), undefined, `${name} = ${good}`);
    for (const value of bad) assert.equal(parseCaveat(`${name} = ${value}`), undefined, `${name} = ${value}`);
    assert.equal(parseCaveat(`${name}=${good}`), undefined);
    assert.equal(parseCaveat(`${name}s = ${good}`), undefined);
  }
});

function assertRefused(
  result: { readonly ok: boolean } | undefined,
  code: string,
  about?: unknown,
): asserts result is Refused {
  assert.ok(result !== undefined && !result.ok, `${code} expected ${JSON.stringify(about) ?? ''}`);
  assert.equal((result as Refused).failure.code, code);
}

const placedOnes: readonly (readonly [
  caveats: readonly string[],
  environments: readonly string[] | 'all',
  planes: readonly string[] | 'all',
  module?: string,
])[] = [
  [['environment = dev'], ['dev'], 'all'],
  [['plane = tenant,laptop', 'module = m21'], 'all', ['tenant', 'laptop'], 'm21'],
  [
    ['environment = dev,prod', 'environment = prod,staging', 'module = m21', 'module = m21'],
    ['prod'],
    'all',
    'm21',
  ],
  [['environment = dev', 'environment = prod'], [], 'all'],
];
for (const [caveats, environments, planes, module] of placedOnes)
  test(`${caveats.join(' and ')}: the caller's placement, where placements are known, and nothing elsewhere`, () => {
    const authenticator = subject();
    const token = mint(...caveats);
    const placed = { ...bearing(token), placed: { claimedCertificate: undefined } };
    for (let round = 0; round < 2; round++) {
      const answer = authenticator.authenticate(placed, { utcMs });
      assert.ok(answer.ok);
      const { actor, placement } = answer.value;
      assert.deepEqual(placement, { environments, planes, module: module ?? actor });
      assertRefused(authenticator.authenticate(bearing(token), { utcMs }), 'Unauthenticated');
    }
  });

test('a capability of two modules holds nowhere, and one without such caveats says nothing of placements', () => {
  const both = { ...bearing(mint('module = a', 'module = b')), placed: { claimedCertificate: undefined } };
  assertRefused(subject().authenticate(both, { utcMs }), 'Unauthenticated');
  const answer = subject().authenticate(bearing(mint()), { utcMs });
  assert.ok(answer.ok);
  assert.equal(answer.value.placement, undefined);
});

test('docs/capabilities.md has a row for every caveat, and for no other', () => {
  const text = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'capabilities.md'), 'utf8');
  const rows = [...text.matchAll(/^\| `([a-z_0-9]+) = /gm)].map(([, name]) => name);
  assert.deepEqual(rows.sort(), [...caveatNames].sort());
});
