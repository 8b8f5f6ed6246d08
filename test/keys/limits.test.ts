import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test from 'node:test';
import { refuse } from '../../src/core/result.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { codeOf, ed25519, makeKeyring, until, unwrap } from '../support/keyring.ts';

const request = (tenant: string) => ({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 });
const bodyless = (kid: string) => ({ actor: 'tester', tenant: 'acme', kid: kid.replace('#v1', '') });

test('a tenant has at most as many keys as it may have; destroyed ones make room', async (t) => {
  const { keyring } = makeKeyring(t, { maxKeysPerTenant: 3 });
  const made = await Promise.all(Array.from({ length: 8 }, () => keyring.create(request('acme'))));
  const codes = made.map(codeOf);
  assert.equal(codes.filter((code) => code === 'ok').length, 3, 'together they are no more');
  assert.equal(codes.filter((code) => code === 'Conflict').length, 5);
  assert.equal(codeOf(await keyring.create(request('beta'))), 'ok', 'another tenant');
  const { kid } = unwrap(made.find(({ ok }) => ok) as (typeof made)[number]);
  assert.equal(codeOf(await keyring.rotate(bodyless(kid))), 'ok', 'a version is no key');
  assert.equal(codeOf(await keyring.destroy(bodyless(kid))), 'ok');
  assert.equal(codeOf(await keyring.create(request('acme'))), 'ok');
  assert.equal(codeOf(await keyring.create(request('acme'))), 'Conflict');
});

test('what could not be made takes no place, and what was made before is answered again', async (t) => {
  const { keyring, custody } = makeKeyring(t, { maxKeysPerTenant: 1 });
  custody.failing = true;
  assert.equal(codeOf(await keyring.create(request('acme'))), 'Internal');
  custody.failing = false;
  const operation = { id: randomUUID(), body: {} };
  assert.equal(codeOf(await keyring.create({ ...request('acme'), operation })), 'ok');
  assert.equal(unwrap(await keyring.create({ ...request('acme'), operation })).replayed, true);
});

test('keys of an earlier start are counted', async (t) => {
  const store = new MemoryStore();
  const before = makeKeyring(t, {}, store);
  for (let n = 0; n < 2; n++) unwrap(await before.keyring.create(request('acme')));
  await before.keyring.close();
  const { keyring } = makeKeyring(t, { maxKeysPerTenant: 2 }, store);
  await until(() => keyring.counts().reduce((sum, { count }) => sum + count, 0) === 2);
  assert.equal(codeOf(await keyring.create(request('acme'))), 'Conflict');
});

test('without room no key and no version is made, and everything else is done', async (t) => {
  let full = false;
  const made: string[] = [];
  const room = {
    refusal: () => (full ? refuse('StoreUnavailable') : undefined),
    made: (tenant: string) => void made.push(tenant),
  };
  const { keyring, custody } = makeKeyring(t, {}, undefined, room);
  const { kid } = unwrap(await keyring.create(request('acme')));
  assert.equal(codeOf(await keyring.rotate(bodyless(kid))), 'ok');
  assert.deepEqual(made, ['acme', 'acme']);
  full = true;
  assert.equal(codeOf(await keyring.create(request('acme'))), 'StoreUnavailable');
  assert.equal(codeOf(await keyring.rotate(bodyless(kid))), 'StoreUnavailable');
  assert.equal(custody.made, 2, 'refused before it costs anything');
  assert.equal(codeOf(await keyring.find('acme', kid)), 'ok');
  assert.equal(codeOf(await keyring.destroy(bodyless(kid))), 'ok');
});
