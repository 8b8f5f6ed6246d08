import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import { CompactSign, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { createIdentities, type Evidence } from '../../src/auth/identities/identities.ts';
import { createTokenVerifier } from '../../src/auth/identities/jwt.ts';
import { parsePolicyFile } from '../../src/config/policy-file.ts';

const issuer = 'https://issuer.test';

function fileOf(identities: string, algorithms = '[ES256]', keys = 'jwks_file: keys.json') {
  const read = parsePolicyFile(
    `issuers: [{ issuer: "${issuer}", audience: intaglio, algorithms: ${algorithms}, ${keys} }]\n${identities}`,
    () => true,
  );
  assert.ok(read.ok, JSON.stringify(read));
  return read.file;
}

interface SigningKey {
  readonly privateKey: Parameters<SignJWT['sign']>[0];
  readonly jwk: JWK;
}

async function signingKey(kid: string, alg = 'ES256'): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg } };
}

const startMs = Date.UTC(2026, 0, 1);

class FakeClock {
  nowMs = 0;
  readonly monotonicMs = () => this.nowMs;
  readonly utcMs = () => startMs + this.nowMs;
}

interface TokenWish {
  readonly claims?: Record<string, unknown>;
  readonly kid?: string;
  readonly alg?: string;
  readonly issuer?: string;
  readonly audience?: string;
  readonly subject?: string;
  readonly expiresS?: number | null;
}

function tokenBy(key: SigningKey, wish: TokenWish = {}): Promise<string> {
  const { claims = {}, kid = key.jwk.kid as string, alg = 'ES256', expiresS = 60 } = wish;
  const token = new SignJWT(claims)
    .setProtectedHeader({ alg, kid })
    .setIssuer(wish.issuer ?? issuer)
    .setAudience(wish.audience ?? 'intaglio')
    .setSubject(wish.subject ?? 'build');
  if (expiresS !== null) token.setExpirationTime(startMs / 1_000 + expiresS);
  return token.sign(key.privateKey);
}

const grant = '{ tenant: acme, scopes: ["kms:sign"], ttl_s: 60 }';
const one = (when: string) => `identities: [{ name: found, when: ${when}, grant: ${grant} }]`;

function verifierOf(file: ReturnType<typeof fileOf>, readFile: () => string, clock = new FakeClock()) {
  const failures: string[] = [];
  const tokens = createTokenVerifier({
    issuers: file.issuers,
    clock,
    timeSkewToleranceMs: 1_000,
    readFile,
    onFailure: (_, cause) => failures.push(cause),
  });
  return { tokens, failures, clock, identities: createIdentities(file, tokens) };
}

async function nameOf(when: string, evidence: Evidence): Promise<string> {
  const { identities } = verifierOf(fileOf(one(when)), () => '{"keys":[]}');
  const found = await identities.identify(evidence);
  return found.ok ? found.value.name : found.failure.code;
}

const sha256 = 'ab'.repeat(32);
const certificate = { spiffe: 'spiffe://example.org/payments/1', dns: ['a.test', 'b.test'], sha256 };

test('a certificate fits by its SPIFFE id, a DNS name, its digest, whole or by the beginning', async () => {
  assert.equal(await nameOf('{ spiffe: "spiffe://example.org/payments/*" }', { certificate }), 'found');
  assert.equal(await nameOf('{ spiffe: "spiffe://example.org/payments" }', { certificate }), 'NoCapability');
  assert.equal(await nameOf('{ dns: b.test }', { certificate }), 'found');
  assert.equal(await nameOf('{ dns: c.test }', { certificate }), 'NoCapability');
  assert.equal(await nameOf(`{ cert_sha256: "${sha256}" }`, { certificate }), 'found');
  const without = { certificate: { ...certificate, spiffe: undefined } };
  assert.equal(await nameOf('{ spiffe: "*" }', without), 'NoCapability');
});

test('a peer fits by its uid or gid', async () => {
  assert.equal(await nameOf('{ uid: 1000 }', { uid: 1000, gid: 7 }), 'found');
  assert.equal(await nameOf('{ gid: 7 }', { uid: 1000, gid: 7 }), 'found');
  assert.equal(await nameOf('{ uid: 7 }', { uid: 1000, gid: 7 }), 'NoCapability');
  assert.equal(await nameOf('{ uid: 0 }', { certificate }), 'NoCapability');
});

test('the first identity that fits is the one, and without evidence there is none', async () => {
  const file = fileOf(
    `identities:\n  - { name: first, when: { uid: 1 }, grant: ${grant} }\n  - { name: second, when: { gid: 1 }, grant: ${grant} }`,
  );
  const { identities } = verifierOf(file, () => '{"keys":[]}');
  const found = await identities.identify({ uid: 1, gid: 1 });
  assert.equal(found.ok && found.value.name, 'first');
  const none = await identities.identify({});
  assert.equal(!none.ok && none.failure.code, 'Unauthenticated');
});

test('a token fits by issuer, subject and claims, lists among them', async () => {
  const key = await signingKey('k1');
  const keys = JSON.stringify({ keys: [key.jwk] });
  const whenSo = `{ issuer: "${issuer}", subject: "bu*", claims: { role: [deploy, "rel*"], admin: "true", level: "3" } }`;
  const { identities } = verifierOf(fileOf(one(whenSo)), () => keys);
  const claims = { role: ['test', 'release'], admin: true, level: 3 };
  const identify = async (wish: TokenWish) => {
    const found = await identities.identify({ jwt: await tokenBy(key, wish) });
    return found.ok ? found.value.name : found.failure.code;
  };
  assert.equal(await identify({ claims }), 'found');
  assert.equal(await identify({ claims: { ...claims, role: ['test'] } }), 'NoCapability');
  assert.equal(await identify({ claims: { role: 'deploy', level: 3 } }), 'NoCapability');
  assert.equal(await identify({ claims: { ...claims, level: { is: 3 } } }), 'NoCapability');
  assert.equal(await identify({ claims, subject: 'other' }), 'NoCapability');
});

test('a token that does not hold is refused, also beside a certificate that would', async () => {
  const key = await signingKey('k1');
  const other = await signingKey('k1');
  const rsa = await signingKey('r1', 'RS256');
  const keys = JSON.stringify({ keys: [key.jwk, rsa.jwk] });
  const when = '{ spiffe: "*" }';
  const { identities, tokens, clock } = verifierOf(fileOf(one(when)), () => keys);
  const good = await tokenBy(key);
  assert.equal((await tokens.verify(good)).ok, true);
  const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${good.split('.')[1]}.`;
  const numbered = { iss: issuer, aud: 'intaglio', sub: 7, exp: startMs / 1_000 + 60 };
  const bad: Record<string, string> = {
    'of another key': await tokenBy(other),
    'of another issuer': await tokenBy(key, { issuer: 'https://other.test' }),
    'for another audience': await tokenBy(key, { audience: 'other' }),
    'that has expired': await tokenBy(key, { expiresS: -2 }),
    'without an end': await tokenBy(key, { expiresS: null }),
    'by an algorithm that is not pinned': await tokenBy(rsa, { alg: 'RS256' }),
    'by the public key as a shared secret': await new SignJWT({ ...numbered, sub: 'build' })
      .setProtectedHeader({ alg: 'HS256', kid: 'k1' })
      .sign(Buffer.from(JSON.stringify(key.jwk))),
    'of an unknown key': await tokenBy(key, { kid: 'k2' }),
    'without a signature': unsigned,
    'that was altered': `${good.slice(0, -4)}AAAA`,
    'that is none': 'a.b.c',
    'that is empty': '',
    'that is too long': 'x'.repeat(8_193),
    'whose subject is no text': await new CompactSign(Buffer.from(JSON.stringify(numbered)))
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .sign(key.privateKey),
    'that is not valid yet': await tokenBy(key, { claims: { nbf: startMs / 1_000 + 30 } }),
  };
  for (const [what, jwt] of Object.entries(bad)) {
    const found = await identities.identify({ jwt, certificate });
    assert.equal(!found.ok && found.failure.code, 'Unauthenticated', what);
  }
  clock.nowMs = 61_500;
  assert.equal((await tokens.verify(good)).ok, false, 'after its end');
});

test('keys are read again when a new one is named, when they are old, and kept a while when they cannot be had', async () => {
  const served: { keys: JWK[] | undefined } = { keys: [] };
  let asked = 0;
  const server = createServer((_, response) => {
    asked++;
    if (served.keys === undefined) response.destroy();
    else response.end(JSON.stringify({ keys: served.keys }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`;
  try {
    const file = fileOf(one('{ uid: 1 }'), '[ES256]', `jwks_url: "${url}"`);
    const { tokens, clock, failures } = verifierOf(file, () => '');
    const [first, second] = [await signingKey('k1'), await signingKey('k2')];
    served.keys = [first.jwk];
    assert.equal((await tokens.verify(await tokenBy(first, { expiresS: 99_999 }))).ok, true);
    assert.equal(asked, 1);

    served.keys = [second.jwk];
    const bySecond = await tokenBy(second, { expiresS: 99_999 });
    assert.equal((await tokens.verify(bySecond)).ok, false, 'asked a moment ago');
    assert.equal(asked, 1);
    clock.nowMs += 10_000;
    assert.equal((await tokens.verify(bySecond)).ok, true);
    assert.equal((await tokens.verify(await tokenBy(first, { expiresS: 99_999 }))).ok, false, 'withdrawn');
    assert.equal(asked, 2);

    served.keys = undefined;
    clock.nowMs += 300_001;
    assert.equal((await tokens.verify(bySecond)).ok, true, 'not fresh, not stale');
    assert.ok(failures.length >= 1);
    clock.nowMs += 3_600_000;
    const stale = await tokens.verify(bySecond);
    assert.equal(!stale.ok && stale.failure.code, 'NotReady');
    served.keys = [second.jwk];
    clock.nowMs += 10_000;
    assert.equal((await tokens.verify(bySecond)).ok, true);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('ML-DSA tokens hold where they are pinned', async () => {
  const key = await signingKey('pq', 'ML-DSA-65');
  const file = fileOf(one('{ uid: 1 }'), '["ML-DSA-65"]');
  const { tokens } = verifierOf(file, () => JSON.stringify({ keys: [key.jwk] }));
  assert.equal((await tokens.verify(await tokenBy(key, { alg: 'ML-DSA-65' }))).ok, true);
});
