import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import type { Credentials, RequestFacts } from '../../src/auth/auth.ts';
import { createTokenVerifier } from '../../src/auth/identities/jwt.ts';
import {
  createPlacedAuthenticator,
  type PlacedAuthenticator,
} from '../../src/auth/identities/placed-authenticator.ts';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { mintToken } from '../../src/auth/macaroon/mint.ts';
import { certificateMappings } from '../../src/config/identity/kinds.ts';
import { type Peer, type PeerCertificate, peerAt } from '../../src/core/peer.ts';
import type { Result } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { authenticatorContract } from '../contracts/authenticator.ts';
import { type CallerKey, callerKey, keySetOf, tokenOver, tokenWith } from '../support/caller-tokens.ts';
import { bearing } from '../support/credentials.ts';

const utcMs = Date.UTC(2027, 0, 15, 12);
const clock = { utcMs: () => utcMs, monotonicMs: () => 0 };
const skewMs = 2_000;
const issuer = 'https://issuer.test';
const audience = 'intaglio';
const rootKey = randomBytes(32);
const nowS = utcMs / 1_000;

const usual = 'uri:spiffe://*/tenant/{tenant}/environment/{environment}/plane/{plane}/module/{module}';

function verifierOf(keys: readonly CallerKey[], algorithms = ['Ed25519', 'ES256']) {
  return createTokenVerifier({
    issuers: [{ issuer, audience, algorithms, keys: { file: 'keys.json' } }],
    ...{ clock, timeSkewToleranceMs: skewMs },
    readFile: () => JSON.stringify(keySetOf(...keys)),
    onFailure: (_, cause) => assert.fail(cause),
  });
}

interface Wish {
  readonly keys?: readonly CallerKey[];
  readonly development?: boolean;
  readonly mapping?: string;
}

function subjectOf({ keys, development = false, mapping = usual }: Wish = {}): PlacedAuthenticator {
  return createPlacedAuthenticator({
    capabilities: createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: skewMs, clock }),
    mappings: certificateMappings.parse(mapping) ?? assert.fail(mapping),
    tokens: keys === undefined ? undefined : verifierOf(keys),
    ...{ timeSkewToleranceMs: skewMs, development },
  });
}

function certificateOf(...uris: readonly string[]): PeerCertificate {
  const spiffe = uris.find((uri) => uri.startsWith('spiffe:'));
  return { sha256: 'ab'.repeat(32), subject: 'CN=x', dns: [], uris, spiffe };
}

const uriOf = (tenant: string, environment: string, plane: string, module: string) =>
  `spiffe://corp.test/tenant/${tenant}/environment/${environment}/plane/${plane}/module/${module}`;
const payments = certificateOf(uriOf('acme', 'prod', 'laptop', 'm21'));

interface Shown {
  readonly certificate?: PeerCertificate;
  readonly token?: string | undefined;
  readonly claimed?: string;
  readonly forwarded?: boolean;
}

function credentialsOf({ certificate, token, claimed, forwarded = false }: Shown): Credentials {
  const peer: Peer = { ...peerAt('tls', '10.0.0.1'), certificate };
  return { token, forwarded, peer: () => peer, placed: { claimedCertificate: claimed } };
}

/** As the request path asks. */
async function ask(
  subject: PlacedAuthenticator,
  shown: Shown,
  facts: Partial<RequestFacts> = {},
): Promise<Result<Caller>> {
  const credentials = credentialsOf(shown);
  const request = { utcMs, ...facts };
  return (
    (await subject.authenticateLater?.(credentials, request)) ?? subject.authenticate(credentials, request)
  );
}

async function callerOf(subject: PlacedAuthenticator, shown: Shown): Promise<Caller> {
  const answer = await ask(subject, shown);
  assert.ok(answer.ok, JSON.stringify(answer));
  assert.ok(Object.isFrozen(answer.value) && Object.isFrozen(answer.value.placement));
  return answer.value;
}

async function codeOf(subject: PlacedAuthenticator, shown: Shown, facts: Partial<RequestFacts> = {}) {
  const answer = await ask(subject, shown, facts);
  return answer.ok ? 'ok' : answer.failure.code;
}

const claims = {
  ...{ iss: issuer, aud: audience, sub: 'build', exp: nowS + 60 },
  ...{ tenant_id: 'acme', environment: 'prod', plane: 'laptop', module: 'm21' },
};

function minted(...caveats: string[]): string {
  const token = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign'], caveats, clock });
  assert.ok(token.ok);
  return token.value;
}

authenticatorContract({
  name: 'capabilities where no placement is known',
  skewMs,
  make: () => subjectOf(),
  makeForeign: () =>
    createPlacedAuthenticator({
      capabilities: createMacaroonAuthenticator({ rootKey: randomBytes(32), timeSkewToleranceMs: skewMs }),
      ...{ mappings: [], tokens: undefined, timeSkewToleranceMs: skewMs, development: false },
    }),
  grant(wanted) {
    const token = mintToken({ rootKey, ...wanted });
    assert.ok(token.ok);
    return bearing(token.value);
  },
});

test('a client certificate is a caller of its tenant, environments, planes and module, for all uses of the surface', async () => {
  const { tenant, placement, scopes, actor, expiresAtMs } = await callerOf(subjectOf(), {
    certificate: payments,
  });
  assert.deepEqual(
    [tenant, placement],
    ['acme', { environments: ['prod'], planes: ['laptop'], module: 'm21' }],
  );
  assert.ok(scopes.has('kms:rotate') && scopes.has('kms:admin') && !scopes.has('kms:unwrap'));
  assert.match(actor, /^id:[0-9a-f]{16}$/);
  assert.equal(expiresAtMs, undefined);
  const other = await callerOf(subjectOf(), {
    certificate: certificateOf(uriOf('acme', 'dev', 'shared', 'm21')),
  });
  assert.equal(other.actor, actor, 'the same module, whatever its certificate');
});

test('without evidence, and with a certificate that says nothing, a caller is Unauthenticated', async () => {
  const subject = subjectOf();
  assert.equal(await codeOf(subject, {}), 'Unauthenticated');
  assert.equal(
    await codeOf(subject, { certificate: certificateOf('spiffe://corp.test/web') }),
    'Unauthenticated',
  );
  assert.equal(await codeOf(subject, { token: '' }), 'Unauthenticated');
  assert.equal(await codeOf(subject, { token: 'a.b.c' }), 'Unauthenticated');
});

test('the certificate of a proxy is nobody behind it', async () => {
  assert.equal(await codeOf(subjectOf(), { certificate: payments, forwarded: true }), 'Unauthenticated');
});

test('a header that claims a certificate is nothing outside of development', async () => {
  const subject = subjectOf();
  assert.equal(await codeOf(subject, { claimed: uriOf('acme', 'prod', 'laptop', 'm21') }), 'Unauthenticated');
  const shown = await callerOf(subject, { certificate: payments, claimed: 'anything' });
  assert.equal(shown.tenant, 'acme');
});

test('in development any value of that header is the mock tenant everywhere, and none is nobody', async () => {
  const subject = subjectOf({ development: true });
  for (const claimed of ['x', 'CN=acme', uriOf('acme', 'prod', 'laptop', 'm21')]) {
    const { tenant, placement } = await callerOf(subject, { claimed });
    assert.deepEqual(
      [tenant, placement],
      ['mock-tenant', { environments: 'all', planes: 'all', module: 'mock-module' }],
    );
  }
  assert.equal(await codeOf(subject, {}), 'Unauthenticated');
  assert.equal(await codeOf(subject, { claimed: '' }), 'Unauthenticated');
  // A proxy brings others to loopback.
  assert.equal(await codeOf(subject, { claimed: 'x', forwarded: true }), 'Unauthenticated');
  // A certificate that was verified goes before it.
  assert.equal((await callerOf(subject, { certificate: payments, claimed: 'x' })).tenant, 'acme');
});

test('a token is a caller by its claims until it ends, and is verified once', async () => {
  const key = await callerKey('k1');
  const subject = subjectOf({ keys: [key] });
  const token = await tokenWith(key, claims);
  const credentials = credentialsOf({ token });
  assert.ok(subject.authenticateLater?.(credentials, { utcMs }) instanceof Promise);
  const caller = await callerOf(subject, { token });
  assert.deepEqual(caller.placement, { environments: ['prod'], planes: ['laptop'], module: 'm21' });
  assert.equal(caller.expiresAtMs, utcMs + 60_000);
  assert.match(caller.actor, /^id:[0-9a-f]{16}$/);
  assert.ok(!token.includes(caller.actor.slice(3)));
  // From now on at once, also beyond the allowance of its address.
  assert.equal(subject.authenticateLater?.(credentials, { utcMs }), undefined);
  const known = subject.authenticate(credentials, { utcMs, mayVerify: () => false });
  assert.deepEqual(known, { ok: true, value: caller });
  assert.equal(await codeOf(subject, { token }, { utcMs: utcMs + 60_000 + skewMs - 1 }), 'ok');
  for (const late of [utcMs + 60_000 + skewMs, Number.NaN]) {
    assert.equal(await codeOf(subject, { token }, { utcMs: late }), 'Unauthenticated');
  }
});

test('what was never seen is not verified beyond the allowance', async () => {
  const key = await callerKey('k1');
  const subject = subjectOf({ keys: [key] });
  const token = await tokenWith(key, claims);
  assert.equal(await codeOf(subject, { token }, { mayVerify: () => false }), 'AddressLimited');
  assert.equal(await codeOf(subject, { token }), 'ok');
});

test('environments and planes of a token may be lists or all, and its module may be called module_id', async () => {
  const key = await callerKey('k1');
  const subject = subjectOf({ keys: [key] });
  const { module, ...others } = claims;
  const token = await tokenWith(key, {
    ...{ ...others, module_id: module },
    ...{ environment: ['prod', 'dev'], plane: 'all' },
  });
  const { placement } = await callerOf(subject, { token });
  assert.deepEqual(placement, { environments: ['dev', 'prod'], planes: 'all', module: 'm21' });
});

test('the claim scope narrows where it names uses of keys', async () => {
  const key = await callerKey('k1');
  const subject = subjectOf({ keys: [key] });
  const narrow = await callerOf(subject, {
    token: await tokenWith(key, { ...claims, scope: 'openid kms:sign kms:unwrap kms:everything' }),
  });
  assert.deepEqual([...narrow.scopes], ['kms:sign']);
  const wide = await callerOf(subject, { token: await tokenWith(key, { ...claims, scope: 'openid' }) });
  assert.ok(wide.scopes.has('kms:rotate'));
});

test('tokens that do not hold are Unauthenticated, whatever is wrong with them', async () => {
  const [key, foreign, rsa] = await Promise.all([callerKey('k1'), callerKey('k1'), callerKey('r1', 'RS256')]);
  const subject = subjectOf({ keys: [key, rsa] });
  const good = await tokenWith(key, claims);
  const [head = '', body = '', signature = ''] = good.split('.');
  const text = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const without = (name: keyof typeof claims) => {
    const { [name]: _, ...others } = claims;
    return others;
  };
  const symmetric = `${text({ alg: 'HS256', kid: 'k1' })}.${body}`;
  const written = JSON.stringify(claims);
  const wrong: Readonly<Record<string, string>> = {
    'of another key with the same kid': await tokenWith(foreign, claims),
    'of an unknown kid': await tokenWith({ ...key, jwk: { ...key.jwk, kid: 'k2' } }, claims),
    'an algorithm that is not allowed': await tokenWith(rsa, claims),
    'no algorithm': `${text({ alg: 'none' })}.${body}.`,
    'a MAC under the public key': `${symmetric}.${createHmac('sha256', JSON.stringify(key.jwk)).update(symmetric).digest('base64url')}`,
    'a MAC under the bytes of the public key': `${symmetric}.${createHmac(
      'sha256',
      Buffer.from(key.jwk.x ?? '', 'base64url'),
    )
      .update(symmetric)
      .digest('base64url')}`,
    'claims of another signature': `${head}.${text({ ...claims, tenant_id: 'other' })}.${signature}`,
    'an altered signature': `${head}.${body}.${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`,
    'no signature': `${head}.${body}.`,
    'a key of its own': await tokenWith(foreign, claims, { jwk: foreign.jwk, kid: 'own' }),
    'a critical extension': await tokenWith(key, claims, { crit: ['exp'], exp: 1 }).catch(
      () => `${head}.a.b`,
    ),
    'no end': await tokenWith(key, without('exp')),
    'an end that is a text': await tokenWith(key, { ...claims, exp: String(claims.exp) }),
    'an end that is past': await tokenWith(key, { ...claims, exp: nowS - 3 }),
    'a beginning to come': await tokenWith(key, { ...claims, nbf: nowS + 3 }),
    'another issuer': await tokenWith(key, { ...claims, iss: 'https://other.test' }),
    'no issuer': await tokenWith(key, without('iss')),
    'another audience': await tokenWith(key, { ...claims, aud: ['other'] }),
    'no audience': await tokenWith(key, without('aud')),
    'no subject': await tokenWith(key, without('sub')),
    'no tenant': await tokenWith(key, without('tenant_id')),
    'a tenant that is none': await tokenWith(key, { ...claims, tenant_id: '../acme' }),
    'no environment': await tokenWith(key, without('environment')),
    'an unknown environment': await tokenWith(key, { ...claims, environment: 'production' }),
    'no environment at all in a list': await tokenWith(key, { ...claims, environment: [] }),
    'an unknown plane among others': await tokenWith(key, { ...claims, plane: ['laptop', 'moon'] }),
    'an environment twice': await tokenWith(key, { ...claims, environment: ['dev', 'dev'] }),
    'no module': await tokenWith(key, without('module')),
    'two modules': await tokenWith(key, { ...claims, module_id: 'm23' }),
    'a claim twice': await tokenOver(key, written.replace('{', '{"tenant_id":"other",')),
    'a claim twice, once escaped': await tokenOver(key, written.replace('{', '{"tenant\\u005fid":"other",')),
    'no JSON': await tokenOver(key, 'tenant_id=acme'),
    'a list': await tokenOver(key, `[${written}]`),
    'more than a header holds': await tokenWith(key, { ...claims, more: 'x'.repeat(8_192) }),
    'a fourth part': `${good}.x`,
    'a blank': `${good} `,
  };
  for (const [what, token] of Object.entries(wrong)) {
    assert.equal(await codeOf(subject, { token }), 'Unauthenticated', what);
    // Nor is it passed over for a weaker proof.
    assert.equal(
      await codeOf(subject, { token, certificate: payments }),
      what in weaker ? 'ok' : 'Unauthenticated',
      what,
    );
  }
  assert.equal(await codeOf(subject, { token: good }), 'ok');
});

test('nothing that is sent as a token makes it throw, or is taken', async () => {
  const key = await callerKey('k1');
  const subject = subjectOf({ keys: [key], development: true });
  const [head = '', body = ''] = (await tokenWith(key, claims)).split('.');
  const part = fc.oneof(
    fc.constantFrom(head, body, ''),
    fc.json().map((text) => Buffer.from(text).toString('base64url')),
    fc.string({ unit: 'binary' }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 5 }), async (parts) => {
      assert.equal(await codeOf(subject, { token: parts.join('.'), claimed: 'x' }), 'Unauthenticated');
    }),
    { numRuns: 300 },
  );
});

/** The certificate says what these leave out. */
const weaker: Readonly<Record<string, true>> = { 'no environment': true, 'no module': true };

test('where no keys are configured a token is Unauthenticated', async () => {
  const key = await callerKey('k1');
  assert.equal(await codeOf(subjectOf(), { token: await tokenWith(key, claims) }), 'Unauthenticated');
});

for (const [what, claimed, expected] of [
  ['all of it', {}, 'ok'],
  ['another tenant', { tenant_id: 'other' }, 'Unauthenticated'],
  ['another environment', { environment: 'dev' }, 'Unauthenticated'],
  ['another plane', { plane: 'shared' }, 'Unauthenticated'],
  ['another module', { module: 'm23' }, 'Unauthenticated'],
  ['more environments and planes', { environment: ['dev', 'prod'], plane: 'all' }, 'ok'],
] as const)
  test(`a token and a certificate that agree in ${what === 'all of it' ? what : `all but ${what}`}: ${expected}`, async () => {
    const key = await callerKey('k1');
    const subject = subjectOf({ keys: [key] });
    const shown = { token: await tokenWith(key, { ...claims, ...claimed }), certificate: payments };
    for (let round = 0; round < 2; round++) {
      assert.equal(await codeOf(subject, shown), expected);
      if (expected !== 'ok') continue;
      // What both leave.
      const { placement } = await callerOf(subject, shown);
      assert.deepEqual(placement, { environments: ['prod'], planes: ['laptop'], module: 'm21' });
    }
  });

test('in development a token has to agree with the header as with a certificate', async () => {
  const key = await callerKey('k1');
  const subject = subjectOf({ keys: [key], development: true });
  assert.equal(
    await codeOf(subject, { token: await tokenWith(key, claims), claimed: 'x' }),
    'Unauthenticated',
  );
  const mock = await tokenWith(key, { ...claims, tenant_id: 'mock-tenant', module: 'mock-module' });
  assert.equal((await callerOf(subject, { token: mock, claimed: 'x' })).tenant, 'mock-tenant');
});

test('new keys forget every token that the old ones verified', async () => {
  const [old, young] = [await callerKey('k1'), await callerKey('k2')];
  const subject = subjectOf({ keys: [old] });
  const token = await tokenWith(old, claims);
  assert.equal(await codeOf(subject, { token }), 'ok');
  subject.useTokens(verifierOf([young]));
  assert.equal(await codeOf(subject, { token }), 'Unauthenticated');
  assert.equal(await codeOf(subject, { token: await tokenWith(young, claims) }), 'ok');
  subject.useTokens(undefined);
  assert.equal(await codeOf(subject, { token: await tokenWith(young, claims) }), 'Unauthenticated');
});

test('a verification that began before the keys were replaced is not remembered', async () => {
  const old = await callerKey('k1');
  const subject = subjectOf({ keys: [old] });
  const credentials = credentialsOf({ token: await tokenWith(old, claims) });
  const under = subject.authenticateLater?.(credentials, { utcMs });
  subject.useTokens(undefined);
  await under;
  const after = subject.authenticate(credentials, { utcMs });
  assert.equal(after.ok, false);
});

test('a capability is for what its caveats name, and for everything where they name nothing', async () => {
  const subject = subjectOf();
  const plain = await callerOf(subject, { token: minted() });
  assert.deepEqual(plain.placement, { environments: 'all', planes: 'all', module: plain.actor });
  assert.deepEqual([...plain.scopes], ['kms:sign']);
  const narrow = await callerOf(subject, {
    token: minted('environment = dev,prod', 'plane = laptop', 'module = m21'),
  });
  assert.deepEqual(narrow.placement, { environments: ['dev', 'prod'], planes: ['laptop'], module: 'm21' });
});

for (const [what, caveats, expected] of [
  ['without such caveats', [], { environments: ['prod'], planes: ['laptop'], module: 'm21' }],
  ['of the same module', ['module = m21'], { environments: ['prod'], planes: ['laptop'], module: 'm21' }],
  ['of another module', ['module = m23'], undefined],
  ['of another environment', ['environment = dev'], undefined],
  ['of other planes', ['plane = tenant,shared'], undefined],
] as const)
  test(`a capability ${what} beside a certificate: ${expected === undefined ? 'Unauthenticated' : 'what both leave'}`, async () => {
    const shown = { token: minted(...caveats), certificate: payments };
    const answer = await ask(subjectOf(), shown);
    assert.deepEqual(answer.ok ? answer.value.placement : undefined, expected);
    assert.equal(!answer.ok && answer.failure.code, expected === undefined && 'Unauthenticated');
  });

test('a capability of another tenant than the certificate is Unauthenticated', async () => {
  const certificate = certificateOf(uriOf('other', 'prod', 'laptop', 'm21'));
  assert.equal(await codeOf(subjectOf(), { token: minted(), certificate }), 'Unauthenticated');
});
