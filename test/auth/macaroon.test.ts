import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import library from 'macaroon';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import {
  encodeBinary,
  encodeToken,
  maxCaveats,
  maxTokenCharacters,
} from '../../src/auth/macaroon/encoding.ts';
import {
  type Attenuation,
  attenuateToken,
  inspectToken,
  type MintRequest,
  mintToken,
} from '../../src/auth/macaroon/mint.ts';
import type { Result } from '../../src/core/result.ts';
import { type Caller, permits, type Scope, scopes } from '../../src/core/scope.ts';
import { bearing } from '../support/credentials.ts';

const rootKey = randomBytes(32);
const now = Date.UTC(2027, 0, 15, 12);
const skewMs = 2_000;

function unwrap<T>(result: Result<T>): T {
  assert.ok(result.ok);
  return result.value;
}

function mint(given: Partial<MintRequest> = {}): string {
  return unwrap(mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign', 'kms:verify'], ...given }));
}

function authenticator(key: Uint8Array = rootKey) {
  return createMacaroonAuthenticator({ rootKey: key, timeSkewToleranceMs: skewMs });
}

function authenticate(token: string, utcMs = now): Result<Caller> {
  return authenticator().authenticate(bearing(token), { utcMs });
}

function isRefused(token: string, utcMs = now): void {
  const result = authenticate(token, utcMs);
  assert.ok(!result.ok);
  assert.equal(result.failure.code, 'Unauthenticated');
}

/** A token with exactly these caveats, made with the library alone. */
function tokenWith(caveats: readonly string[], key: Uint8Array = rootKey): string {
  const macaroon = library.newMacaroon({ identifier: randomBytes(16), rootKey: key, version: 2 });
  for (const caveat of caveats) macaroon.addFirstPartyCaveat(caveat);
  return encodeToken(macaroon, caveats);
}

const base = ['tenant = acme', 'scope = kms:sign,kms:verify'];

test('a minted capability names its tenant, its scopes and a pseudonym', () => {
  const token = mint();
  const caller = unwrap(authenticate(token));
  assert.equal(caller.tenant, 'acme');
  assert.deepEqual([...caller.scopes], ['kms:sign', 'kms:verify']);
  assert.match(caller.actor, /^cap:[0-9a-f]{16}$/);
  assert.equal(token.includes(caller.actor.slice(4)), false);
  assert.match(token, /^[A-Za-z0-9_-]+$/);
});

test('an attenuated capability keeps the pseudonym of the one it came from', () => {
  const token = mint();
  const narrowed = unwrap(attenuateToken(token, { scopes: ['kms:verify'] }));
  assert.equal(unwrap(authenticate(narrowed)).actor, unwrap(authenticate(token)).actor);
});

test('two capabilities for the same have different pseudonyms', () => {
  assert.notEqual(unwrap(authenticate(mint())).actor, unwrap(authenticate(mint())).actor);
});

test('our encoding is the one of the format: the library reads it and finds the chain valid', () => {
  const token = mint({ expiresAtMs: now });
  const read = library.importMacaroon(Buffer.from(token, 'base64url'));
  const verify = (read as unknown as { verify(key: Uint8Array, check: () => null): void }).verify;
  assert.doesNotThrow(() => verify.call(read, rootKey, () => null));
  assert.throws(() => verify.call(read, randomBytes(32), () => null));
});

test('a token with any one byte changed is refused', () => {
  const binary = Buffer.from(mint({ expiresAtMs: now + 60_000 }), 'base64url');
  const subject = authenticator();
  for (let index = 0; index < binary.length; index++) {
    for (const mask of [0x01, 0x20, 0x80, 0xff]) {
      const altered = Buffer.from(binary);
      altered[index] = (altered[index] ?? 0) ^ mask;
      const result = subject.authenticate(bearing(altered.toString('base64url')), { utcMs: now });
      assert.ok(!result.ok, `byte ${index} ^ ${mask}`);
    }
  }
});

test('a token with any one character changed, added or removed is refused', () => {
  const token = mint();
  const subject = authenticator();
  for (let index = 0; index < token.length; index++) {
    const other = token[index] === 'A' ? 'B' : 'A';
    for (const replacement of [other, '', '=', ' ', '+', `${token[index]}A`]) {
      const altered = token.slice(0, index) + replacement + token.slice(index + 1);
      assert.ok(
        !subject.authenticate(bearing(altered), { utcMs: now }).ok,
        `character ${index} to "${replacement}"`,
      );
    }
  }
});

test('every prefix of a token is refused', () => {
  const token = mint();
  const subject = authenticator();
  for (let length = 0; length < token.length; length++) {
    assert.ok(!subject.authenticate(bearing(token.slice(0, length)), { utcMs: now }).ok);
  }
});

test('a token under another root key is refused', () => {
  isRefused(mint({ rootKey: randomBytes(32) }));
});

test('removing or reordering caveats is refused', () => {
  const narrowed = unwrap(attenuateToken(mint(), { scopes: ['kms:verify'], expiresAtMs: now + 1 }));
  const { identifier, signature } = library.importMacaroon(Buffer.from(narrowed, 'base64url'));
  const { caveats } = unwrap(inspectToken(narrowed));
  for (const altered of [caveats.slice(0, -1), caveats.slice(1), [...caveats].reverse(), []]) {
    isRefused(Buffer.from(encodeBinary(identifier, altered, signature)).toString('base64url'));
  }
});

test('expiry is judged at every call, with the tolerance for skew', () => {
  const token = mint({ expiresAtMs: now });
  const subject = authenticator();
  for (const [utcMs, expected] of [
    [now - 1, true],
    [now + skewMs - 1, true],
    [now + skewMs, false],
    [now + 86_400_000, false],
    [now - 1, true],
    [Number.NaN, false],
  ] as const) {
    assert.equal(subject.authenticate(bearing(token), { utcMs }).ok, expected, String(utcMs - now));
  }
});

test('a capability is not valid before its time, but for the tolerance', () => {
  const token = mint({ notBeforeMs: now });
  assert.ok(authenticate(token, now).ok);
  assert.ok(authenticate(token, now - skewMs).ok);
  isRefused(token, now - skewMs - 1);
});

test('the tightest of several times holds', () => {
  const token = unwrap(attenuateToken(mint({ expiresAtMs: now + 10_000 }), { expiresAtMs: now + 60_000 }));
  isRefused(token, now + 10_000 + skewMs);
  const shorter = unwrap(attenuateToken(token, { expiresAtMs: now }));
  isRefused(shorter, now + skewMs);
});

test('equal tenants are one tenant; none and differing ones are refused', () => {
  assert.equal(unwrap(authenticate(tokenWith([...base, 'tenant = acme']))).tenant, 'acme');
  isRefused(tokenWith([...base, 'tenant = other']));
  isRefused(tokenWith(['scope = kms:sign']));
});

test('a capability without any scope caveat is refused, and one whose scopes exclude each other permits nothing', () => {
  isRefused(tokenWith(['tenant = acme']));
  const caller = unwrap(authenticate(tokenWith([...base, 'scope = kms:audit'])));
  assert.deepEqual(
    scopes.filter((scope) => permits(caller, scope)),
    [],
  );
});

test('an unknown or malformed caveat refuses the capability', () => {
  for (const caveat of [
    'colour = blue',
    'Tenant = acme',
    'tenant=acme',
    'tenant =acme',
    ' tenant = acme',
    'tenant = ',
    'tenant = Acme',
    'tenant = acme ',
    `tenant = ${'a'.repeat(64)}`,
    'tenant = acme\n',
    'tenant = acmé',
    'scope = ',
    'scope = kms:sign,',
    'scope = kms:sign, kms:verify',
    'scope = kms:sign,kms:sign',
    'scope = kms:everything',
    'scope = *',
    'expires = tomorrow',
    'expires = 2027-13-01T00:00:00Z',
    'expires = 2027-02-30T00:00:00Z',
    'expires = 2099-01-01T00:00:00+01:00',
    'expires = 2099-01-01T00:00:00',
    'expires = 2099-01-01',
    'expires = 4070908800',
    'expires = 2099-01-01T24:00:00Z',
    'not_before = 2020-01-01t00:00:00z',
    'constructor = x',
    '__proto__ = x',
    '=',
    'a',
  ]) {
    isRefused(tokenWith([...base, caveat]));
  }
});

test('a third-party caveat without its discharge is refused', () => {
  const macaroon = library.newMacaroon({ identifier: randomBytes(16), rootKey, version: 2 });
  for (const caveat of base) macaroon.addFirstPartyCaveat(caveat);
  macaroon.addThirdPartyCaveat(randomBytes(32), 'tenant = acme', 'https://elsewhere.example');
  const third = macaroon.caveats.at(-1);
  assert.ok(third?.vid);
  // Field types of the V2 format: 1 location, 2 identifier, 4 verification id, 6 signature.
  const field = (type: number, content: Uint8Array) => [type, content.length, ...content];
  const binary = Buffer.from([
    2,
    ...field(2, macaroon.identifier),
    0,
    ...base.flatMap((caveat) => [...field(2, Buffer.from(caveat)), 0]),
    ...field(1, Buffer.from('https://elsewhere.example')),
    ...field(2, third.identifier),
    ...field(4, third.vid),
    0,
    0,
    ...field(6, macaroon.signature),
  ]);
  assert.equal(library.importMacaroon(binary).caveats.length, 3);
  isRefused(binary.toString('base64url'));
});

test('a location, which no signature covers, is refused', () => {
  const token = Buffer.from(mint(), 'base64url');
  const located = Buffer.concat([token.subarray(0, 1), Buffer.from([1, 1, 0x61]), token.subarray(1)]);
  assert.doesNotThrow(() => library.importMacaroon(located));
  isRefused(located.toString('base64url'));
});

test('a longer form of a length, which no signature covers, is refused', () => {
  const token = Buffer.from(mint(), 'base64url');
  assert.deepEqual([...token.subarray(0, 3)], [2, 2, 33]);
  const padded = Buffer.concat([token.subarray(0, 2), Buffer.from([0xa1, 0x00]), token.subarray(3)]);
  assert.doesNotThrow(() => library.importMacaroon(padded));
  isRefused(padded.toString('base64url'));
});

test('the JSON forms of a macaroon are refused', () => {
  const json = JSON.stringify({ v: 2, i: 'x', s64: 'AAAA' });
  isRefused(json);
  isRefused(Buffer.from(json).toString('base64url'));
});

test('a capability holds 32 caveats and not one more', () => {
  const many = Array.from({ length: maxCaveats - 2 }, () => 'tenant = acme');
  const full = tokenWith([...base, ...many]);
  assert.ok(authenticate(full).ok);
  isRefused(tokenWith([...base, ...many, 'tenant = acme']));
  const one = attenuateToken(full, { scopes: ['kms:sign'] });
  assert.ok(!one.ok && one.failure.code === 'TooLarge');
});

test('a token longer than a header may be is refused, however valid', () => {
  const long = `scope = ${scopes.join(',')}`;
  const caveats = [...base, ...Array.from({ length: 24 }, () => long)];
  const token = tokenWith(caveats);
  assert.ok(token.length > maxTokenCharacters && caveats.length <= maxCaveats);
  isRefused(token);
  isRefused('A'.repeat(1_000_000));
});

test('no text makes the verifier throw', () => {
  const subject = authenticator();
  const bytes = fc
    .uint8Array({ maxLength: 200 })
    .map((given) => Buffer.from([2, ...given]).toString('base64url'));
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.base64String(), bytes), (token) => {
      assert.equal(subject.authenticate(bearing(token), { utcMs: now }).ok, false);
    }),
    { numRuns: 2_000 },
  );
});

test('minting refuses what the grammar of caveats does not take', () => {
  for (const given of [
    { tenant: '' },
    { tenant: 'A' },
    { tenant: 'acme\nscope = kms:admin' },
    { scopes: [] },
    { scopes: ['kms:nothing'] },
    { scopes: ['kms:sign,kms:admin', 'x'] },
    { expiresAtMs: Number.NaN },
    { expiresAtMs: Number.POSITIVE_INFINITY },
    { expiresAtMs: Date.UTC(10_000, 0) },
    // In latin1, which tokens are in, this would be another name.
    { caveats: ['subject = CN=\u0141'] },
    { caveats: ['subject = CN=\u00e9'] },
    { caveats: ['subject = CN=a\0'] },
  ]) {
    const result = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign'], ...given });
    assert.ok(!result.ok && result.failure.code === 'BadRequest', JSON.stringify(given));
  }
});

const scopeSet = fc.uniqueArray(fc.constantFrom(...scopes), { minLength: 1 });
const time = fc.integer({ min: now - 100_000, max: now + 100_000 });
const attenuation: fc.Arbitrary<Attenuation> = fc.record(
  { tenant: fc.constantFrom('acme', 'other'), scopes: scopeSet, expiresAtMs: time, notBeforeMs: time },
  { requiredKeys: [] },
);

test('no attenuation ever permits more, at any time, and it permits exactly what each step leaves', () => {
  fc.assert(
    fc.property(
      scopeSet,
      fc.array(attenuation, { maxLength: 6 }),
      fc.array(time, { minLength: 1, maxLength: 5 }),
      (granted, steps, times) => {
        const subject = authenticator();
        let token = mint({ scopes: granted, expiresAtMs: now + 50_000 });
        for (const step of steps) {
          const narrower = unwrap(attenuateToken(token, step));
          for (const utcMs of times) {
            const before = subject.authenticate(bearing(token), { utcMs });
            const after = subject.authenticate(bearing(narrower), { utcMs });
            const inTime =
              utcMs < (step.expiresAtMs ?? Number.POSITIVE_INFINITY) + skewMs &&
              utcMs >= (step.notBeforeMs ?? Number.NEGATIVE_INFINITY) - skewMs;
            assert.equal(after.ok, before.ok && inTime && (step.tenant ?? 'acme') === 'acme');
            if (!after.ok || !before.ok) continue;
            assert.equal(after.value.tenant, before.value.tenant);
            const step2: Caller = { tenant: 'acme', actor: '', scopes: new Set(step.scopes as Scope[]) };
            for (const scope of scopes) {
              const left = step.scopes === undefined || permits(step2, scope);
              assert.equal(permits(after.value, scope), permits(before.value, scope) && left, scope);
            }
          }
          token = narrower;
        }
      },
    ),
    { numRuns: 150 },
  );
});

test('rotate also permits create, and a capability to rotate can be narrowed to create', () => {
  const token = mint({ scopes: ['kms:rotate'] });
  const caller = unwrap(authenticate(token));
  assert.deepEqual(
    scopes.filter((scope) => permits(caller, scope)),
    ['kms:create', 'kms:rotate'],
  );
  const narrowed = unwrap(authenticate(unwrap(attenuateToken(token, { scopes: ['kms:create'] }))));
  assert.deepEqual(
    scopes.filter((scope) => permits(narrowed, scope)),
    ['kms:create'],
  );
});

test('inspecting shows the caveats without any key', () => {
  const inspected = unwrap(inspectToken(mint({ rootKey: randomBytes(32), expiresAtMs: now })));
  assert.deepEqual(inspected.caveats, [...base, 'expires = 2027-01-15T12:00:00.000Z']);
});
