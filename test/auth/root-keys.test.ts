import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { createMacaroonAuthenticator } from '../../src/auth/macaroon/authenticator.ts';
import { encodeToken } from '../../src/auth/macaroon/encoding.ts';
import { macaroonKeyOf, signatureOf } from '../../src/auth/macaroon/key.ts';
import { mintToken } from '../../src/auth/macaroon/mint.ts';
import { readMacaroonKey } from '../../src/auth/macaroon/root-key.ts';
import { MemoryRootKeys, makeRootKey, maxRootKeys, RootKeyFiles } from '../../src/auth/macaroon/root-keys.ts';
import { bearing } from '../support/credentials.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const secretRule = { groupAllowed: false };
const at = { utcMs: Date.now() };

function keysOf(context: TestContext) {
  const dataDir = temporaryDirectory(context);
  for (let n = 0; n < 2; n++) assert.ok(makeRootKey(dataDir, 0).ok);
  const rootKeys = new RootKeyFiles(dataDir, secretRule, macaroonKeyOf);
  assert.deepEqual(rootKeys.reload(), { ok: true, added: [0, 1], removed: [] });
  const mint = (id: number) => {
    const key = readMacaroonKey(dataDir, secretRule, id);
    assert.ok(key.ok);
    const minted = mintToken({ rootKey: key.rootKey, rootKeyId: id, tenant: 'acme', scopes: ['kms:sign'] });
    assert.ok(minted.ok);
    return minted.value;
  };
  const authenticator = createMacaroonAuthenticator({ rootKey: rootKeys, timeSkewToleranceMs: 0 });
  return {
    dataDir,
    rootKeys,
    mint,
    holds: (token: string) => authenticator.authenticate(bearing(token), at).ok,
  };
}

test('each capability is judged under the root key that it names', (context) => {
  const { mint, holds, dataDir } = keysOf(context);
  for (const id of [0, 1]) assert.equal(holds(mint(id)), true);
  const zero = readMacaroonKey(dataDir, secretRule, 0);
  assert.ok(zero.ok);
  const claimed = mintToken({ rootKey: zero.rootKey, rootKeyId: 1, tenant: 'acme', scopes: ['kms:sign'] });
  assert.ok(claimed.ok);
  assert.equal(holds(claimed.value), false);
});

test('a capability of an identifier from before root keys had ids stays valid under the root key 0', (context) => {
  const { dataDir, holds } = keysOf(context);
  const zero = readMacaroonKey(dataDir, secretRule, 0);
  assert.ok(zero.ok);
  assert.equal(holds(oldToken(zero.rootKey)), true);
  const one = readMacaroonKey(dataDir, secretRule, 1);
  assert.ok(one.ok);
  assert.equal(holds(oldToken(one.rootKey)), false);
});

function oldToken(rootKey: Uint8Array): string {
  const identifier = randomBytes(16);
  const caveats = ['tenant = acme', 'scope = kms:sign'];
  return encodeToken(
    { identifier, signature: signatureOf(macaroonKeyOf(rootKey), identifier, caveats) },
    caveats,
  );
}

test('a new key is taken up and a removed one is not any more, for tokens in the caches as well', (context) => {
  const { dataDir, rootKeys, mint, holds } = keysOf(context);
  const [old, one] = [mint(0), mint(1)];
  assert.deepEqual([holds(old), holds(one)], [true, true]);
  assert.ok(makeRootKey(dataDir, 0).ok);
  const two = mint(2);
  assert.equal(holds(two), false);
  rmSync(join(dataDir, 'macaroon.1.key'));
  assert.deepEqual(rootKeys.reload(), { ok: true, added: [2], removed: [1] });
  assert.deepEqual([holds(old), holds(one), holds(two)], [true, false, true]);
});

test('a key whose file was written again with other bytes is another key', (context) => {
  const { dataDir, rootKeys, mint, holds } = keysOf(context);
  const token = mint(1);
  assert.equal(holds(token), true);
  utimesSync(join(dataDir, 'macaroon.1.key'), 1, 1);
  assert.deepEqual(rootKeys.reload(), { ok: true, added: [], removed: [] });
  assert.equal(holds(token), true);
  writeFileSync(join(dataDir, 'macaroon.1.key'), randomBytes(32));
  assert.deepEqual(rootKeys.reload(), { ok: true, added: [1], removed: [] });
  assert.equal(holds(token), false);
});

test('a file that is not trustworthy leaves everything as it was', (context) => {
  const { dataDir, rootKeys, mint, holds } = keysOf(context);
  const token = mint(1);
  writeFileSync(join(dataDir, 'macaroon.2.key'), 'short', { mode: 0o600 });
  const { generation } = rootKeys;
  assert.equal(rootKeys.reload().ok, false);
  writeFileSync(join(dataDir, 'macaroon.2.key'), randomBytes(32));
  chmodSync(join(dataDir, 'macaroon.2.key'), 0o644);
  assert.equal(rootKeys.reload().ok, false);
  assert.deepEqual([rootKeys.ids, rootKeys.generation, holds(token)], [[0, 1], generation, true]);
});

test('the id of a removed key does not come again', (context) => {
  const { dataDir } = keysOf(context);
  const made = makeRootKey(dataDir);
  assert.ok(made.ok);
  rmSync(join(dataDir, `macaroon.${made.id}.key`));
  const again = makeRootKey(dataDir, Date.now() + 1_000);
  assert.ok(again.ok && again.id > made.id && made.id > 1);
});

test('there are at most so many, on disk and in memory', (context) => {
  const { dataDir, rootKeys } = keysOf(context);
  while (readdirSync(dataDir).length < maxRootKeys) assert.ok(makeRootKey(dataDir, 0).ok);
  assert.equal(makeRootKey(dataDir, 0).ok, false);
  assert.ok(rootKeys.reload().ok);
  const inMemory = new MemoryRootKeys(macaroonKeyOf);
  while (inMemory.ids.length < maxRootKeys) assert.ok(inMemory.rotate().ok);
  assert.equal(inMemory.rotate().ok, false);
});

test('a key that the engine does not take leaves no file, so that the next change and the next start go on', (context) => {
  const dataDir = temporaryDirectory(context);
  let room = 2;
  const rootKeys = new RootKeyFiles(dataDir, { groupAllowed: false }, (rootKey) => {
    if (room-- === 0)
      throw Object.assign(new Error('too many MAC keys are loaded'), { code: 'TOO_MANY_ROOTS' });
    return macaroonKeyOf(rootKey);
  });
  assert.ok(rootKeys.rotate().ok && rootKeys.rotate().ok);
  const files = readdirSync(dataDir);
  assert.deepEqual(rootKeys.rotate(), {
    ok: false,
    problem: 'cannot read the macaroon keys (TOO_MANY_ROOTS)',
  });
  assert.deepEqual(readdirSync(dataDir), files);
  assert.deepEqual(rootKeys.reload(), { ok: true, added: [], removed: [] });
});
