import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { assertConsistent, codeOf, ed25519, hybrid, makeKeyring, unwrap } from '../support/keyring.ts';

const tenant = 'acme';

test('parallel rotations give versions without gaps, and no look-up in between is of two minds', async (t) => {
  const { keyring, store, inner } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: hybrid }));
  const id = kid.replace('#v1', '');
  store.beforeCommit = () => setImmediate();
  let running = true;
  let looks = 0;
  const watching = (async () => {
    let seen = 0;
    while (running) {
      const handle = unwrap(await keyring.find(tenant, id));
      assertConsistent(handle);
      assert.ok(handle.current && handle.version.version >= seen, 'versions never go back');
      seen = handle.version.version;
      const old = unwrap(await keyring.find(tenant, `${id}#v1`));
      assertConsistent(old);
      looks += 1;
      await setImmediate();
    }
  })();
  const rotations = await Promise.all(
    Array.from({ length: 16 }, () => keyring.rotate({ actor: 'tester', tenant, kid: id })),
  );
  running = false;
  await watching;
  assert.ok(looks > 3);
  const made = rotations.map(unwrap);
  assert.deepEqual(
    made.map((each) => each.kid).toSorted(),
    Array.from({ length: 16 }, (_, index) => `${id}#v${index + 2}`).toSorted(),
  );
  for (const each of made) {
    assert.equal(Number(each.kid.split('#v')[1]), Number(each.previous!.split('#v')[1]) + 1);
  }
  const other = makeKeyring(t, {}, inner);
  for (let version = 1; version <= 17; version += 1) {
    const handle = unwrap(await other.keyring.find(tenant, `${id}#v${version}`));
    assertConsistent(handle);
    assert.equal(handle.current, version === 17);
  }
});

test('whoever looked before the rotation was durable has the old version, whoever looks afterwards the new one', async (t) => {
  const { keyring, store, forgotten } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  const id = kid.replace('#v1', '');
  const before = unwrap(await keyring.find(tenant, id));
  const gate = Promise.withResolvers<void>();
  store.beforeCommit = () => gate.promise;
  const rotating = keyring.rotate({ actor: 'tester', tenant, kid: id });
  for (let turn = 0; turn < 5; turn += 1) await setImmediate();
  assert.equal(unwrap(await keyring.find(tenant, id)).version, before.version);
  gate.resolve();
  unwrap(await rotating);
  const after = unwrap(await keyring.find(tenant, id));
  assert.equal(after.version.version, 2);
  assert.equal(before.version.version, 1);
  assertConsistent(before);
  assert.deepEqual(forgotten, [before.version.parts[0]!.keyNumber], 'the old private key is wiped');
});

test('a read that began before a rotation does not bring the old version back', async (t) => {
  const first = makeKeyring(t);
  const { kid } = unwrap(
    await first.keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
  );
  const id = kid.replace('#v1', '');
  const { keyring, store } = makeKeyring(t, {}, first.inner);
  const gate = Promise.withResolvers<void>();
  let held = true;
  store.afterGet = async () => {
    if (!held) return;
    held = false;
    await gate.promise;
  };
  const finding = keyring.find(tenant, id);
  unwrap(await keyring.rotate({ actor: 'tester', tenant, kid: id }));
  gate.resolve();
  const handle = unwrap(await finding);
  assertConsistent(handle);
  assert.equal(unwrap(await keyring.find(tenant, id)).version.version, 2);
});

test('a rotation of a version that is not current, of a destroyed or a missing key is refused', async (t) => {
  const { keyring } = makeKeyring(t, { maxVersionsPerKey: 3 });
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  const id = kid.replace('#v1', '');
  unwrap(await keyring.rotate({ actor: 'tester', tenant, kid }));
  assert.equal(codeOf(await keyring.rotate({ actor: 'tester', tenant, kid })), 'Conflict');
  unwrap(await keyring.rotate({ actor: 'tester', tenant, kid: `${id}#v2` }));
  assert.equal(
    codeOf(await keyring.rotate({ actor: 'tester', tenant, kid: id })),
    'Conflict',
    'three versions are all it may have',
  );
  unwrap(await keyring.destroy({ actor: 'tester', tenant, kid: id }));
  assert.equal(codeOf(await keyring.rotate({ actor: 'tester', tenant, kid: id })), 'Conflict');
  assert.equal(
    codeOf(await keyring.rotate({ actor: 'tester', tenant, kid: id.replace(/.{12}$/, '000000000000') })),
    'NotFound',
  );
});

test('more changes of one key than may wait are refused at once; other keys do not notice', async (t) => {
  const { keyring, custody } = makeKeyring(t, { maxWaitingChangesPerKey: 2 });
  const one = unwrap(
    await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
  ).kid.replace('#v1', '');
  const two = unwrap(
    await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
  ).kid.replace('#v1', '');
  const gate = Promise.withResolvers<void>();
  custody.beforeGenerate = () => gate.promise;
  const rotations = Array.from({ length: 5 }, () => keyring.rotate({ actor: 'tester', tenant, kid: one }));
  const other = keyring.rotate({ actor: 'tester', tenant, kid: two });
  assert.deepEqual(await Promise.all(rotations.slice(3).map(async (each) => codeOf(await each))), [
    'Backpressure',
    'Backpressure',
  ]);
  gate.resolve();
  for (const each of [...rotations.slice(0, 3), other]) unwrap(await each);
});

test('destroying a key removes every private part, keeps the public ones, and is done once', async (t) => {
  const { keyring, inner, forgotten } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: hybrid }));
  const id = kid.replace('#v1', '');
  for (let version = 2; version <= 150; version += 1)
    unwrap(await keyring.rotate({ actor: 'tester', tenant, kid: id }));
  const old = unwrap(await keyring.find(tenant, `${id}#v7`));
  const current = unwrap(await keyring.find(tenant, id));
  assert.deepEqual(unwrap(await keyring.destroy({ actor: 'tester', tenant, kid: id })), {
    kid: id,
    replayed: false,
  });
  assert.deepEqual(unwrap(await keyring.destroy({ actor: 'tester', tenant, kid: id })), {
    kid: id,
    replayed: true,
  });
  for (const { keyNumber } of [...old.version.parts, ...current.version.parts]) {
    assert.ok(forgotten.includes(keyNumber));
  }
  for (const entry of unwrap(await inner.list({ prefix: '', limit: 1000 }))) {
    assert.doesNotMatch(Buffer.from(entry.value).toString(), /sealed/, entry.key);
  }
  for (const ring of [keyring, makeKeyring(t, {}, inner).keyring]) {
    for (const text of [id, `${id}#v7`, `${id}#v150`]) {
      const handle = unwrap(await ring.find(tenant, text));
      assert.equal(handle.version.state, 'destroyed');
      assert.equal(handle.head.state, 'destroyed');
      assert.ok(!handle.current);
      assertConsistent(handle);
    }
    const description = unwrap(await ring.describe(tenant, id));
    assert.equal(description.versions.length, 150);
    assert.deepEqual(Buffer.from(description.versions[0]!.publicKeys[1]!).toString(), `public 1 ${id}#v150`);
  }
  assert.deepEqual(unwrap(await keyring.destroy({ actor: 'tester', tenant, kid: `${id}#v7` })), {
    kid: `${id}#v7`,
    replayed: true,
  });
});

test('one old version is destroyed, the others go on; the current one is not', async (t) => {
  const { keyring, inner } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  const id = kid.replace('#v1', '');
  assert.equal(codeOf(await keyring.destroy({ actor: 'tester', tenant, kid })), 'Conflict');
  unwrap(await keyring.rotate({ actor: 'tester', tenant, kid }));
  unwrap(await keyring.rotate({ actor: 'tester', tenant, kid: id }));
  unwrap(await keyring.find(tenant, `${id}#v1`));
  assert.equal(codeOf(await keyring.destroy({ actor: 'tester', tenant, kid: id, version: 3 })), 'Conflict');
  assert.equal(codeOf(await keyring.destroy({ actor: 'tester', tenant, kid: id, version: 4 })), 'NotFound');
  assert.equal(codeOf(await keyring.destroy({ actor: 'tester', tenant, kid, version: 2 })), 'BadRequest');
  assert.deepEqual(unwrap(await keyring.destroy({ actor: 'tester', tenant, kid: id, version: 1 })), {
    kid,
    replayed: false,
  });
  assert.deepEqual(unwrap(await keyring.destroy({ actor: 'tester', tenant, kid, version: 1 })), {
    kid,
    replayed: true,
  });
  const states = async () =>
    Promise.all([1, 2, 3].map(async (n) => unwrap(await keyring.find(tenant, `${id}#v${n}`)).version.state));
  assert.deepEqual(await states(), ['destroyed', 'active', 'active']);
  assert.ok(unwrap(await keyring.find(tenant, id)).current);
  assert.doesNotMatch(
    Buffer.from(unwrap(await inner.get(`ver/${id}#0000000001`))!.value).toString(),
    /sealed/,
  );
});

test('a commit that fails leaves the truth: the store is asked again', async (t) => {
  const { keyring, store } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  const id = kid.replace('#v1', '');
  store.failing.add('commit');
  assert.equal(
    codeOf(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 })),
    'StoreUnavailable',
  );
  assert.equal(codeOf(await keyring.rotate({ actor: 'tester', tenant, kid: id })), 'StoreUnavailable');
  assert.equal(codeOf(await keyring.destroy({ actor: 'tester', tenant, kid: id })), 'StoreUnavailable');
  assert.equal(unwrap(await keyring.find(tenant, id)).version.version, 1);
  store.failing.clear();

  store.failing.add('commit-after');
  assert.equal(codeOf(await keyring.rotate({ actor: 'tester', tenant, kid: id })), 'StoreUnavailable');
  assert.equal(unwrap(await keyring.find(tenant, id)).version.version, 2);
  unwrap(await keyring.find(tenant, `${id}#v1`));
  assert.equal(
    codeOf(await keyring.destroy({ actor: 'tester', tenant, kid: id, version: 1 })),
    'StoreUnavailable',
  );
  assert.equal(unwrap(await keyring.find(tenant, `${id}#v1`)).version.state, 'destroyed');
  assert.equal(codeOf(await keyring.destroy({ actor: 'tester', tenant, kid: id })), 'StoreUnavailable');
  assert.equal(unwrap(await keyring.find(tenant, id)).head.state, 'destroyed');
});

test('a change by somebody else is noticed at the commit and not overwritten', async (t) => {
  const one = makeKeyring(t);
  const two = makeKeyring(t, {}, one.inner);
  const { kid } = unwrap(
    await one.keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
  );
  const id = kid.replace('#v1', '');
  one.custody.beforeGenerate = async () => {
    one.custody.beforeGenerate = undefined;
    unwrap(await two.keyring.rotate({ actor: 'tester', tenant, kid: id }));
  };
  assert.equal(codeOf(await one.keyring.rotate({ actor: 'tester', tenant, kid: id })), 'Conflict');
  assert.equal(unwrap(await one.keyring.find(tenant, id)).version.version, 2);
  assert.equal(unwrap(await one.keyring.rotate({ actor: 'tester', tenant, kid: id })).kid, `${id}#v3`);
});

test('a rotation and a destruction elsewhere do not undo each other', async (t) => {
  const one = makeKeyring(t);
  const two = makeKeyring(t, {}, one.inner);
  const make = async () => {
    const made = unwrap(
      await one.keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }),
    );
    return made.kid.replace('#v1', '');
  };
  const destroyed = await make();
  one.custody.beforeGenerate = async () => {
    one.custody.beforeGenerate = undefined;
    unwrap(await two.keyring.destroy({ actor: 'tester', tenant, kid: destroyed }));
  };
  assert.equal(codeOf(await one.keyring.rotate({ actor: 'tester', tenant, kid: destroyed })), 'Conflict');
  assert.equal(unwrap(await one.keyring.find(tenant, destroyed)).head.state, 'destroyed');

  const rotated = await make();
  one.store.afterGet = async () => {
    one.store.afterGet = undefined;
    unwrap(await two.keyring.rotate({ actor: 'tester', tenant, kid: rotated }));
  };
  assert.notEqual(codeOf(await one.keyring.destroy({ actor: 'tester', tenant, kid: rotated })), 'ok');
  const handle = unwrap(await one.keyring.find(tenant, rotated));
  assert.ok(handle.current && handle.version.version === 2);
});

test('a key that was looked for while it was made is found as soon as it is there', async (t) => {
  const { keyring, custody } = makeKeyring(t, { maxCachedKeys: 1 });
  let looked = '';
  custody.beforeGenerate = async () => {
    custody.beforeGenerate = undefined;
    looked = codeOf(await keyring.find(tenant, custody.asked));
  };
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  assert.equal(looked, 'NotFound');
  unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  assertConsistent(unwrap(await keyring.find(tenant, kid)));
});

test('custody that fails changes nothing', async (t) => {
  const { keyring, custody, store } = makeKeyring(t);
  const { kid } = unwrap(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 }));
  const commits = store.calls.commit;
  custody.failing = true;
  assert.equal(
    codeOf(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 })),
    'Internal',
  );
  assert.equal(codeOf(await keyring.rotate({ actor: 'tester', tenant, kid })), 'Internal');
  assert.equal(store.calls.commit, commits);
  assert.ok(unwrap(await keyring.find(tenant, kid)).current);
});

test('bad tenants and purposes are refused before a key is made', async (t) => {
  const { keyring, custody } = makeKeyring(t);
  for (const [badTenant, purpose] of [
    ['', 'p'],
    ['A', 'p'],
    ['a/b', 'p'],
    ['a', ''],
    ['a', 'p/q'],
    ['a', 'x'.repeat(64)],
  ] as const) {
    assert.equal(
      codeOf(await keyring.create({ actor: 'tester', tenant: badTenant, purpose, algorithm: ed25519 })),
      'BadRequest',
    );
  }
  assert.equal(custody.made, 0);
});

test('closing waits for changes under way and refuses new ones', async (t) => {
  const { keyring, custody } = makeKeyring(t);
  const gate = Promise.withResolvers<void>();
  custody.beforeGenerate = () => gate.promise;
  const creating = keyring.create({
    actor: 'tester',
    tenant,
    purpose: 'p',
    algorithm: ed25519,
    operation: { id: randomUUID(), body: {} },
  });
  await setImmediate();
  const closing = keyring.close();
  assert.equal(
    codeOf(await keyring.create({ actor: 'tester', tenant, purpose: 'p', algorithm: ed25519 })),
    'NotReady',
  );
  gate.resolve();
  await closing;
  unwrap(await creating);
  await keyring.close();
});
