import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import test from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { codeOf, ed25519, hybrid, makeKeyring, until, unwrap } from '../support/keyring.ts';

const tenant = 'acme';
const body = { purpose: 'p', alg: 'ed25519', policy: { b: 1, a: [1, 2] } };

test('the same op_id and body give the same answer, also after a restart, and change nothing', async (t) => {
  const { keyring, inner, custody, clock } = makeKeyring(t);
  const ids = { create: randomUUID(), rotate: randomUUID(), version: randomUUID(), key: randomUUID() };
  const create = {
    tenant,
    actor: 'tester',
    purpose: 'p',
    algorithm: hybrid,
    operation: { id: ids.create, body },
  };
  const made = unwrap(await keyring.create(create));
  const rotate = { tenant, actor: 'tester', kid: made.kid, operation: { id: ids.rotate, body: {} } };
  const rotated = unwrap(await keyring.rotate(rotate));
  const version = {
    tenant,
    actor: 'tester',
    kid: made.kid,
    operation: { id: ids.version, body: { version: 1 } },
  };
  const destroyedVersion = unwrap(await keyring.destroy(version));
  const key = {
    tenant,
    actor: 'tester',
    kid: made.kid.replace('#v1', ''),
    operation: { id: ids.key, body: {} },
  };
  const destroyedKey = unwrap(await keyring.destroy(key));
  clock.nowMs += 60_000;
  const commits = (await inner.list({ prefix: '', limit: 100 })) as object;
  for (const ring of [keyring, makeKeyring(t, {}, inner).keyring]) {
    assert.deepEqual(unwrap(await ring.create(create)), { ...made, replayed: true });
    assert.deepEqual(unwrap(await ring.rotate(rotate)), { ...rotated, replayed: true });
    assert.deepEqual(unwrap(await ring.destroy(version)), { ...destroyedVersion, replayed: true });
    assert.deepEqual(unwrap(await ring.destroy(key)), { ...destroyedKey, replayed: true });
    const otherOrder = { alg: 'ed25519', policy: { a: [1, 2], b: 1 }, purpose: 'p' };
    const upper = { ...create, operation: { id: ids.create.toUpperCase(), body: otherOrder } };
    assert.deepEqual(unwrap(await ring.create(upper)), { ...made, replayed: true });
  }
  assert.deepEqual(await inner.list({ prefix: '', limit: 100 }), commits);
  assert.equal(custody.made, 2);
});

test('the same op_id for anything else is a Conflict', async (t) => {
  const { keyring, custody } = makeKeyring(t);
  const operation = { id: randomUUID(), body };
  const create = { tenant, actor: 'tester', purpose: 'p', algorithm: ed25519, operation };
  const { kid } = unwrap(await keyring.create(create));
  const others = [
    keyring.create({
      ...create,
      operation: { ...operation, body: { ...body, policy: { b: 1, a: [2, 1] } } },
    }),
    keyring.create({ ...create, operation: { ...operation, body: {} } }),
    keyring.create({ ...create, purpose: 'q' }),
    keyring.create({ ...create, algorithm: hybrid }),
    keyring.rotate({ tenant, actor: 'tester', kid, operation }),
    keyring.destroy({ tenant, actor: 'tester', kid, operation }),
    keyring.destroy({ tenant, actor: 'tester', kid: kid.replace('#v1', ''), operation }),
  ];
  for (const other of others) assert.equal(codeOf(await other), 'Conflict');
  assert.equal(custody.made, 1);
  const bad = { ...create, operation: { id: 'no uuid', body } };
  assert.equal(codeOf(await keyring.create(bad)), 'BadRequest');
});

test('an op_id that an earlier version recorded as it was spelled is answered to the same spelling', async (t) => {
  const { keyring } = makeKeyring(t);
  const spelled = { id: randomUUID(), body: { ...body, policy: null } };
  const create = { tenant, actor: 'tester', purpose: 'p', algorithm: ed25519 };
  const made = unwrap(await keyring.create({ ...create, operation: spelled }));
  const operation = { ...spelled, meaning: { purpose: 'p', alg: 'ed25519' } };
  assert.deepEqual(unwrap(await keyring.create({ ...create, operation })), { ...made, replayed: true });
  const other = { ...operation, body: { ...body, policy: { audit: 'synced' } } };
  assert.equal(codeOf(await keyring.create({ ...create, operation: other })), 'Conflict');
});

test("one tenant's op_id is nothing to another", async (t) => {
  const { keyring } = makeKeyring(t);
  const operation = { id: randomUUID(), body };
  const one = unwrap(
    await keyring.create({ tenant: 'one', actor: 'tester', purpose: 'p', algorithm: ed25519, operation }),
  );
  const two = unwrap(
    await keyring.create({ tenant: 'two', actor: 'tester', purpose: 'p', algorithm: ed25519, operation }),
  );
  assert.ok(one.kid.startsWith('one/') && two.kid.startsWith('two/') && !two.replayed);
});

test('concurrent duplicates have one effect and one answer; a concurrent other body is refused', async (t) => {
  const { keyring, custody, inner } = makeKeyring(t);
  custody.beforeGenerate = () => setImmediate();
  const operation = { id: randomUUID(), body };
  const create = { tenant, actor: 'tester', purpose: 'p', algorithm: ed25519, operation };
  const results = await Promise.all([
    ...Array.from({ length: 16 }, () => keyring.create(create)),
    keyring.create({ ...create, operation: { ...operation, body: { other: true } } }),
  ]);
  assert.equal(codeOf(results.pop()!), 'Conflict');
  const made = results.map(unwrap);
  assert.equal(made.filter((each) => !each.replayed).length, 1);
  assert.equal(new Set(made.map((each) => each.kid)).size, 1);
  assert.equal(custody.made, 1);
  assert.equal(unwrap(await inner.list({ prefix: 'key/', limit: 10 })).length, 1);

  const kid = made[0]!.kid.replace('#v1', '');
  const rotate = { tenant, actor: 'tester', kid, operation: { id: randomUUID(), body: {} } };
  const rotations = await Promise.all(Array.from({ length: 8 }, () => keyring.rotate(rotate)));
  assert.ok(rotations.every((each) => unwrap(each).kid === `${kid}#v2`));
  assert.equal(unwrap(await keyring.describe(tenant, kid)).head.currentVersion, 2);
});

test('an op_id that is used elsewhere at the same time has one effect; the loser learns of it by trying again', async (t) => {
  const one = makeKeyring(t);
  const two = makeKeyring(t, {}, one.inner);
  const create = {
    tenant,
    actor: 'tester',
    purpose: 'p',
    algorithm: ed25519,
    operation: { id: randomUUID(), body },
  };
  let kid = '';
  one.custody.beforeGenerate = async () => {
    one.custody.beforeGenerate = undefined;
    kid = unwrap(await two.keyring.create(create)).kid;
  };
  assert.equal(codeOf(await one.keyring.create(create)), 'Conflict');
  assert.equal(unwrap(await one.keyring.create(create)).kid, kid);
  assert.equal(unwrap(await one.inner.list({ prefix: 'key/', limit: 10 })).length, 1);
});

test('a refusal is not remembered: the same op_id may succeed later', async (t) => {
  const { keyring, store, custody } = makeKeyring(t);
  const create = {
    tenant,
    actor: 'tester',
    purpose: 'p',
    algorithm: ed25519,
    operation: { id: randomUUID(), body },
  };
  store.failing.add('commit');
  assert.equal(codeOf(await keyring.create(create)), 'StoreUnavailable');
  store.failing.clear();
  store.failing.add('get');
  assert.equal(codeOf(await keyring.create(create)), 'StoreUnavailable');
  store.failing.clear();
  custody.failing = true;
  assert.equal(codeOf(await keyring.create(create)), 'Internal');
  custody.failing = false;
  assert.equal(unwrap(await keyring.create(create)).replayed, false);
  assert.equal(unwrap(await keyring.create(create)).replayed, true);
});

test('a commit that happened although the store refused is found by the repetition', async (t) => {
  const { keyring, store, inner } = makeKeyring(t);
  const create = {
    tenant,
    actor: 'tester',
    purpose: 'p',
    algorithm: ed25519,
    operation: { id: randomUUID(), body },
  };
  store.failing.add('commit-after');
  assert.equal(codeOf(await keyring.create(create)), 'StoreUnavailable');
  store.failing.clear();
  assert.equal(unwrap(await keyring.create(create)).replayed, true);
  assert.equal(unwrap(await inner.list({ prefix: 'key/', limit: 10 })).length, 1);
});

test('a destruction that finds nothing to do takes its op_id all the same', async (t) => {
  const { keyring } = makeKeyring(t);
  const kid = unwrap(
    await keyring.create({ tenant, actor: 'tester', purpose: 'p', algorithm: ed25519 }),
  ).kid.replace('#v1', '');
  unwrap(await keyring.destroy({ tenant, actor: 'tester', kid }));
  const operation = { id: randomUUID(), body: {} };
  assert.deepEqual(unwrap(await keyring.destroy({ tenant, actor: 'tester', kid, operation })), {
    kid,
    replayed: true,
  });
  assert.deepEqual(unwrap(await keyring.destroy({ tenant, actor: 'tester', kid, operation })), {
    kid,
    replayed: true,
  });
  assert.equal(
    codeOf(await keyring.create({ tenant, actor: 'tester', purpose: 'p', algorithm: ed25519, operation })),
    'Conflict',
  );
});

test('an op_id is kept for its time; then it is purged and may be used again', async (t) => {
  const { keyring, inner, clock } = makeKeyring(t, { operationKeptMs: 1_000 });
  const create = {
    tenant,
    actor: 'tester',
    purpose: 'p',
    algorithm: ed25519,
    operation: { id: randomUUID(), body },
  };
  const first = unwrap(await keyring.create(create));
  clock.nowMs += 999;
  assert.equal(unwrap(await keyring.create(create)).kid, first.kid);
  clock.nowMs += 1;
  const second = unwrap(await keyring.create(create));
  assert.ok(!second.replayed && second.kid !== first.kid);

  // A keyring purges when it starts; its clock stands earlier than the record's, so that only the expired one goes.
  const late = { ...create, operation: { id: randomUUID(), body } };
  clock.nowMs += 5_000;
  unwrap(await keyring.create(late));
  const purging = makeKeyring(t, { operationKeptMs: 1_000 }, inner);
  purging.clock.nowMs = clock.nowMs + 500;
  const left = async () => unwrap(await inner.list({ prefix: 'op/', limit: 10 })).map((entry) => entry.key);
  await until(async () => (await left()).length === 1);
  assert.deepEqual(await left(), [`op/${tenant}/${late.operation.id}`]);
});
