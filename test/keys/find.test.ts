import assert from 'node:assert/strict';
import test from 'node:test';
import { assertConsistent, codeOf, ed25519, hybrid, makeKeyring, unwrap } from '../support/keyring.ts';

const tenant = 'acme';

test('a new key is found at once, with and without its version, and nothing is read', async (t) => {
  const { keyring, store } = makeKeyring(t);
  const made = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: hybrid }));
  const id = made.kid.replace('#v1', '');
  const reads = store.calls.get;
  for (const text of [id, made.kid]) {
    const found = keyring.find(tenant, text);
    assert.ok(!(found instanceof Promise));
    const handle = unwrap(found);
    assertConsistent(handle);
    assert.ok(handle.current);
    assert.equal(handle.version.kid, made.kid);
  }
  assert.equal(keyring.find(tenant, id), keyring.find(tenant, made.kid));
  assert.equal(store.calls.get, reads);
});

test('what another keyring wrote to the store is found, and then it is cached', async (t) => {
  const first = makeKeyring(t);
  const { kid } = unwrap(
    await first.keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
  );
  unwrap(await first.keyring.rotate({ actor: 'tester', tenant, kid }));
  const { keyring, store } = makeKeyring(t, {}, first.inner);
  const results = await Promise.all(Array.from({ length: 50 }, () => keyring.find(tenant, kid)));
  const handles = results.map(unwrap);
  handles.forEach(assertConsistent);
  assert.ok(handles.every((handle) => handle.version.version === 1 && !handle.current));
  assert.equal(store.calls.get, 3, 'head, current version and old version were each read once for all');
  assert.ok(!(keyring.find(tenant, kid) instanceof Promise));
  assert.ok(!(keyring.find(tenant, kid.replace('#v1', '')) instanceof Promise));
});

test("another tenant's key does not exist, and no kid of another tenant reaches the store", async (t) => {
  const first = makeKeyring(t);
  const { kid } = unwrap(
    await first.keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
  );
  const { keyring, store } = makeKeyring(t, {}, first.inner);
  for (const other of ['acme2', 'acm', 'a', 'p']) {
    for (const ring of [keyring, first.keyring]) {
      for (const text of [kid, kid.replace('#v1', ''), kid.replace('#v1', '#v7')]) {
        assert.equal(codeOf(await ring.find(other, text)), 'NotFound');
        assert.equal(codeOf(await ring.describe(other, text)), 'NotFound');
        assert.equal(codeOf(await ring.rotate({ actor: 'tester', tenant: other, kid: text })), 'NotFound');
        assert.equal(codeOf(await ring.destroy({ actor: 'tester', tenant: other, kid: text })), 'NotFound');
      }
    }
  }
  assert.deepEqual(store.calls.get, 0);
});

test('a text that is no kid is BadRequest, whether its beginning is cached or not', async (t) => {
  const { keyring } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  const id = kid.replace('#v1', '');
  for (const text of [
    '',
    'x',
    `${id}#`,
    `${id}#v`,
    `${id}#v01`,
    `${id}#v1 `,
    `${id}#v0`,
    `${id}#1`,
    `${id}/`,
  ]) {
    assert.equal(codeOf(await keyring.find(tenant, text)), 'BadRequest', text);
  }
});

test('keys and versions that do not exist are NotFound; a missing key is asked for only now and then', async (t) => {
  const { keyring, store, clock } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  assert.equal(codeOf(await keyring.find(tenant, kid.replace('#v1', '#v2'))), 'NotFound');
  const missing = kid.replace('#v1', '').replace(/[0-9a-f]{12}$/, '000000000000');
  const reads = store.calls.get;
  assert.equal(codeOf(await keyring.find(tenant, missing)), 'NotFound');
  for (let repeat = 0; repeat < 10; repeat += 1) {
    const again = keyring.find(tenant, `${missing}#v${repeat + 1}`);
    assert.ok(!(again instanceof Promise));
    assert.equal(codeOf(again), 'NotFound');
  }
  assert.equal(store.calls.get, reads + 1);
  clock.nowMs += 10_000;
  assert.equal(codeOf(await keyring.find(tenant, missing)), 'NotFound');
  assert.equal(store.calls.get, reads + 2);
});

test('key numbers are never given twice, and every one that leaves the cache is forgotten once', async (t) => {
  const { keyring, forgotten } = makeKeyring(t, { maxCachedKeys: 8, maxCachedOldVersions: 4 });
  const given = new Set<number>();
  const kids: string[] = [];
  for (let index = 0; index < 20; index += 1) {
    const { kid } = unwrap(
      await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: hybrid }),
    );
    unwrap(await keyring.rotate({ actor: 'tester', tenant, kid }));
    kids.push(kid);
  }
  for (let round = 0; round < 3; round += 1) {
    for (const kid of kids) {
      for (const text of [kid, kid.replace('#v1', '')]) {
        const handle = unwrap(await keyring.find(tenant, text));
        assertConsistent(handle);
        for (const part of handle.version.parts) given.add(part.keyNumber);
      }
    }
  }
  assert.ok(given.size > 100);
  assert.equal(new Set(forgotten).size, forgotten.length);
  const held = [...given].filter((keyNumber) => !forgotten.includes(keyNumber));
  assert.ok(held.length <= 2 * (8 + 4), `${held.length} numbers are held`);
  await keyring.close();
  assert.deepEqual(
    [...given].filter((keyNumber) => !forgotten.includes(keyNumber)),
    [],
  );
});

test('a key in use stays in a full cache while others pass through', async (t) => {
  const { keyring } = makeKeyring(t, { maxCachedKeys: 4 });
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  for (let index = 0; index < 40; index += 1) {
    assert.ok(!(keyring.find(tenant, kid) instanceof Promise));
    unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  }
});

test('what cannot be read is Internal, is reported by its name, and does not stay', async (t) => {
  const first = makeKeyring(t);
  const { kid } = unwrap(
    await first.keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
  );
  const id = kid.replace('#v1', '');
  for (const storeKey of [`key/${id}`, `ver/${id}#0000000001`]) {
    const good = unwrap(await first.inner.get(storeKey))!.value;
    const text = Buffer.from(good).toString();
    const bad = [
      '',
      '{',
      'null',
      text.replace('"v":1', '"v":2'),
      text.replace('{', '{"more":1,'),
      text.replace('"active"', '"destroyed"'),
      text.replace('"active"', '"other"'),
      text.replace(id, id.replace('acme', 'evil')),
      text.replace('"created":', '"created":-'),
      text.replace('"sealed"', '"Sealed"').replace('"backend"', '"Backend"'),
      `${text}x`,
    ];
    for (const value of bad) {
      const { keyring, corrupt } = makeKeyring(t, {}, first.inner);
      await first.inner.commit([{ key: storeKey, value: Buffer.from(value) }]);
      assert.equal(codeOf(await keyring.find(tenant, id)), 'Internal', value);
      assert.ok(corrupt.length > 0);
      await first.inner.commit([{ key: storeKey, value: good }]);
      assertConsistent(unwrap(await keyring.find(tenant, id)));
    }
  }
});

test('a store that does not answer is StoreUnavailable for what is not cached, and only as long', async (t) => {
  const first = makeKeyring(t);
  const { kid } = unwrap(
    await first.keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
  );
  first.store.failing.add('get');
  assertConsistent(unwrap(await first.keyring.find(tenant, kid)));
  const { keyring, store } = makeKeyring(t, {}, first.inner);
  store.failing.add('get');
  assert.equal(codeOf(await keyring.find(tenant, kid)), 'StoreUnavailable');
  store.failing.clear();
  assertConsistent(unwrap(await keyring.find(tenant, kid)));
});
