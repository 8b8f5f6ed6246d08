import assert from 'node:assert/strict';
import test from 'node:test';
import { authenticated, openAuthenticated } from '../../src/keys/authenticity.ts';
import { decodeHead, encodeHead, headKey } from '../../src/keys/codec.ts';
import type { KeyHead } from '../../src/keys/record.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { codeOf, ed25519, hybrid, makeKeyring, NamedParts, testMac, unwrap } from '../support/keyring.ts';

const tenant = 'acme';
const asked = { actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 };

/** The text of a head as it is stored. */
function textOf(head: KeyHead): string {
  const opened = openAuthenticated(headKey(head.id), encodeHead(head, testMac), testMac);
  return Buffer.from(opened!.text).toString();
}

test('a head names its backend; one without a name is of software, and another name is read as it is', async (t) => {
  const { keyring } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create(asked));
  const { head } = unwrap(await keyring.find(tenant, kid));
  const text = textOf(head);
  assert.match(text, /,"backend":"software"}$/);
  const read = (changed: string) => {
    const key = headKey(head.id);
    return decodeHead(key, authenticated(key, changed, testMac), testMac)?.backend;
  };
  assert.equal(read(text), 'software');
  assert.equal(read(text.replace(',"backend":"software"', '')), 'software');
  assert.equal(read(text.replace('software', 'token-2.prod')), 'token-2.prod');
  for (const name of ['', 'Token', 'a b', '-x', 'x'.repeat(64), '\\u0000'])
    assert.equal(read(text.replace('software', name)), undefined, name);
  assert.equal(read(text.replace('"software"', '7')), undefined);
});

test('a key is made in the custody that was asked for, and its versions stay there', async (t) => {
  const vault = new NamedParts('vault');
  const { keyring, custody } = makeKeyring(t, {}, undefined, undefined, [vault]);
  const { kid } = unwrap(await keyring.create({ ...asked, algorithm: hybrid, backend: 'vault' }));
  const id = kid.replace('#v1', '');
  unwrap(await keyring.rotate({ actor: 'tester', tenant, kid: id }));
  assert.deepEqual([vault.made, custody.made], [2, 0]);
  const { head, version } = unwrap(await keyring.find(tenant, id));
  assert.equal(head.backend, 'vault');
  assert.deepEqual(
    version.parts.map(({ home }) => home),
    ['vault', 'vault'],
  );
  const old = unwrap(await keyring.find(tenant, kid));
  assert.equal(old.version.parts[0]?.home, 'vault');
  unwrap(await keyring.create(asked));
  assert.deepEqual([vault.made, custody.made], [2, 1]);
});

test('a key that came into no record is nowhere; one whose commit happened all the same stays', async (t) => {
  const vault = new NamedParts('vault');
  const { keyring, store, left } = makeKeyring(t, {}, undefined, undefined, [vault]);
  const inVault = { ...asked, backend: 'vault' };
  const { kid } = unwrap(await keyring.create(inVault));
  store.failing.add('commit');
  assert.equal(codeOf(await keyring.create(inVault)), 'StoreUnavailable');
  assert.deepEqual(vault.discarded, [vault.asked]);
  const id = kid.replace('#v1', '');
  assert.equal(codeOf(await keyring.rotate({ actor: 'tester', tenant, kid: id })), 'StoreUnavailable');
  assert.deepEqual(vault.discarded.slice(1), [`${id}#v2`]);
  store.failing.delete('commit');
  store.failing.add('commit-after');
  assert.equal(codeOf(await keyring.create(inVault)), 'StoreUnavailable');
  assert.equal(vault.discarded.length, 2, 'it has a record');
  store.failing.add('get');
  assert.equal(codeOf(await keyring.create(inVault)), 'StoreUnavailable');
  assert.deepEqual(
    [vault.discarded.length, left],
    [2, [vault.asked]],
    'nobody knows, and the operator is told',
  );
});

test('a backend that is not here, or does not hold keys of the algorithm, makes none', async (t) => {
  const vault = new NamedParts('vault');
  vault.holding = false;
  const { keyring, inner } = makeKeyring(t, {}, undefined, undefined, [vault]);
  assert.equal(codeOf(await keyring.create({ ...asked, backend: 'token' })), 'Unsupported');
  assert.equal(codeOf(await keyring.create({ ...asked, backend: 'vault' })), 'Unsupported');
  assert.equal(vault.made, 0);
  assert.deepEqual(unwrap(await inner.list({ prefix: 'key/', limit: 10 })), []);
});

test('a key whose backend is not here is refused alone, told to the operator, and keeps its record', async (t) => {
  const inner = new MemoryStore();
  const vault = new NamedParts('vault');
  const before = makeKeyring(t, {}, inner, undefined, [vault]);
  const { kid } = unwrap(await before.keyring.create({ ...asked, backend: 'vault' }));
  const id = kid.replace('#v1', '');
  unwrap(await before.keyring.rotate({ actor: 'tester', tenant, kid: id }));
  const { kid: mine } = unwrap(await before.keyring.create(asked));

  const { keyring, unknown, corrupt, custody } = makeKeyring(t, {}, inner);
  const change = { actor: 'tester', tenant, kid: id };
  for (const text of [id, kid, `${id}#v2`]) {
    const found = await keyring.find(tenant, text);
    assert.equal(codeOf(found), 'StoreUnavailable');
    assert.match((!found.ok && found.failure.hint) || '', /backend that this service does not have/);
  }
  assert.equal(codeOf(await keyring.find(tenant, `${id}#v3`)), 'StoreUnavailable');
  assert.equal(codeOf(await keyring.find('other', id)), 'NotFound');
  // The refusal is in the cache as a key would be: the log has a line for each reading, not for each call.
  assert.deepEqual(unknown, [headKey(id)]);
  assert.equal(codeOf(await keyring.rotate(change)), 'StoreUnavailable');
  assert.equal(codeOf(await keyring.destroy(change)), 'StoreUnavailable');
  assert.equal(codeOf(await keyring.destroy({ ...change, version: 1 })), 'StoreUnavailable');
  assert.equal(custody.made, 0);

  assert.equal(unwrap(await keyring.describe(tenant, id)).head.backend, 'vault');
  assert.equal(unwrap(await keyring.list({ tenant })).keys.length, 2);
  assert.ok(unwrap(await keyring.find(tenant, mine)).current);
  unwrap(await keyring.rotate({ actor: 'tester', tenant, kid: mine.replace('#v1', '') }));
  assert.deepEqual(corrupt, []);

  const again = makeKeyring(t, {}, inner, undefined, [vault]);
  assert.ok(unwrap(await again.keyring.find(tenant, id)).current);
});

test('a custody destroys before the records forget, and a refusal leaves the key as it was', async (t) => {
  const vault = new NamedParts('vault');
  const { keyring, store } = makeKeyring(t, {}, undefined, undefined, [vault]);
  const { kid } = unwrap(await keyring.create({ ...asked, backend: 'vault' }));
  const id = kid.replace('#v1', '');
  const change = { actor: 'tester', tenant, kid: id };
  for (let version = 2; version <= 3; version++) unwrap(await keyring.rotate(change));

  vault.failing = true;
  assert.equal(codeOf(await keyring.destroy({ ...change, version: 1 })), 'StoreUnavailable');
  assert.equal(codeOf(await keyring.destroy(change)), 'StoreUnavailable');
  assert.ok(unwrap(await keyring.find(tenant, id)).current);
  assert.equal(unwrap(await keyring.find(tenant, kid)).version.state, 'active');

  vault.failing = false;
  store.beforeCommit = async () => assert.deepEqual(vault.destroyed, [kid]);
  unwrap(await keyring.destroy({ ...change, version: 1 }));
  store.beforeCommit = undefined;
  unwrap(await keyring.destroy(change));
  // The first version is gone already.
  assert.deepEqual(vault.destroyed, [kid, `${id}#v2`, `${id}#v3`]);
  unwrap(await keyring.destroy(change));
  assert.equal(vault.destroyed.length, 3);
});
