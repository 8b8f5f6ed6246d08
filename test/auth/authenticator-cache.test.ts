import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import { bearerToken } from '../../src/auth/auth.ts';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { mintToken } from '../../src/auth/macaroon/mint.ts';
import { bearing } from '../support/credentials.ts';

const rootKey = randomBytes(32);
const facts = { utcMs: Date.UTC(2027, 0, 1) };

function mint(): string {
  const minted = mintToken({ rootKey, tenant: 'acme', scopes: ['kms:sign'] });
  assert.ok(minted.ok);
  return minted.value;
}

test('a capability seen before gives the very same caller, frozen', () => {
  const subject = createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0 });
  const token = mint();
  const first = subject.authenticate(bearing(token), facts);
  assert.ok(first.ok && Object.isFrozen(first.value));
  assert.equal(subject.authenticate(bearing(token), facts), first);
});

test('a flood of distinct bad tokens evicts no good one', () => {
  const subject = createMacaroonAuthenticator({
    rootKey,
    timeSkewToleranceMs: 0,
    maxVerified: 4,
    maxRefused: 4,
  });
  const token = mint();
  const first = subject.authenticate(bearing(token), facts);
  for (let index = 0; index < 200; index++) {
    assert.ok(
      !subject.authenticate(bearing(`${token.slice(0, -6)}${String(index).padStart(6, '0')}`), facts).ok,
    );
  }
  assert.equal(subject.authenticate(bearing(token), facts), first);
});

test('more capabilities than the cache holds are all verified', () => {
  const subject = createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0, maxVerified: 3 });
  const tokens = Array.from({ length: 20 }, mint);
  for (let round = 0; round < 3; round++) {
    for (const token of tokens) assert.ok(subject.authenticate(bearing(token), facts).ok);
  }
});

test('a token that was refused stays refused', () => {
  const subject = createMacaroonAuthenticator({ rootKey, timeSkewToleranceMs: 0 });
  for (let round = 0; round < 3; round++) assert.ok(!subject.authenticate(bearing('AgIQ'), facts).ok);
});

test('the verifier keeps its own copy of the root key', () => {
  const key = Uint8Array.from(rootKey);
  const subject = createMacaroonAuthenticator({ rootKey: key, timeSkewToleranceMs: 0 });
  key.fill(0);
  assert.ok(subject.authenticate(bearing(mint()), facts).ok);
});

test('a bearer token is read from its header, and nothing else is', () => {
  assert.equal(bearerToken('Bearer abc'), 'abc');
  assert.equal(bearerToken('bearer abc'), 'abc');
  for (const header of [undefined, '', 'Bearer', 'Bearer ', 'Basic abc=', 'Bearerabc']) {
    assert.equal(bearerToken(header), undefined);
  }
});
