import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import type { CreateKey, KeyHandle } from '../../src/keys/keyring.ts';
import { idPrefix } from '../../src/keys/lifecycle/names.ts';
import { lifecycleOf } from '../../src/keys/lifecycle/states.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { codeOf, ed25519, makeKeyring, NamedParts, testMac, until, unwrap } from '../support/keyring.ts';

const tenant = 'acme';
const actor = 'tester';
const placement = { environment: 'prod', plane: 'laptop' } as const;
const asked = { tenant, actor, purpose: 'kms', algorithm: ed25519, placement } satisfies CreateKey;
const dayMs = 86_400_000;
const aes = findAlgorithm('aes-256-gcm')!;

function start(t: TestContext) {
  const bench = makeKeyring(t);
  const { keyring, clock } = bench;
  const make = async (more: Partial<CreateKey> = {}) => {
    const made = unwrap(await keyring.create({ ...asked, ...more }));
    return { kid: made.kid, id: made.kid.replace('#v1', ''), keyId: made.keyId! };
  };
  const found = async (keyId: string): Promise<KeyHandle> => unwrap(await keyring.findByKeyId(tenant, keyId));
  const stateOf = async (keyId: string) => {
    const { head, version } = await found(keyId);
    return lifecycleOf(head, version, clock.nowMs);
  };
  const rotate = async (kid: string) => unwrap(await keyring.rotate({ tenant, actor, kid }));
  const revoke = (kid: string, reason: 'compromised' | 'retired' | 'policy_violation' = 'retired') =>
    keyring.revoke({ tenant, actor, kid, reason });
  const archive = (kid: string) => keyring.archive({ tenant, actor, kid });
  return { ...bench, make, found, stateOf, rotate, revoke, archive };
}

const keyStateOf = (result: Parameters<typeof codeOf>[0]) =>
  result.ok ? 'ok' : `${result.failure.code} ${result.failure.keyState}`;

test('a key has the key_id of its kid, and each later version one of its own', async (t) => {
  const { make, found, rotate } = start(t);
  const { kid, id, keyId } = await make();
  assert.equal(keyId, id.slice(id.lastIndexOf('/') + 1));
  const second = await rotate(kid);
  assert.match(second.keyId!, /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
  assert.notEqual(second.keyId, keyId);
  assert.equal((await found(keyId)).version.kid, `${id}#v1`);
  assert.equal((await found(second.keyId!)).version.kid, `${id}#v2`);
});

test('a key without a placement has no key_id, and is neither archived nor revoked', async (t) => {
  const { keyring, revoke, archive, inner } = start(t);
  const { placement: _, ...plain } = asked;
  const made = unwrap(await keyring.create(plain));
  assert.equal(made.keyId, undefined);
  const uuid = made.kid.slice(made.kid.lastIndexOf('/') + 1, -3);
  assert.equal(codeOf(await keyring.findByKeyId(tenant, uuid)), 'NotFound');
  assert.equal(codeOf(await revoke(made.kid)), 'BadRequest');
  assert.equal(codeOf(await archive(made.kid)), 'BadRequest');
  assert.deepEqual(unwrap(await inner.list({ prefix: 'key-', limit: 10 })), []);
});

test('a look-up by key_id is at once when it is in memory, of a current and of an old version', async (t) => {
  const { keyring, make, rotate } = start(t);
  const { kid, keyId } = await make({ algorithm: aes });
  const second = (await rotate(kid)).keyId!;
  for (const name of [keyId, second]) {
    await keyring.findByKeyId(tenant, name);
    assert.ok(!(keyring.findByKeyId(tenant, name) instanceof Promise), name);
  }
});

test('another tenant has no such key_id, and a text that is no UUID names nothing', async (t) => {
  const { keyring, make, found } = start(t);
  const { keyId } = await make();
  await found(keyId);
  assert.equal(codeOf(await keyring.findByKeyId('other', keyId)), 'NotFound');
  for (const text of ['', 'key-123', keyId.toUpperCase(), `${keyId}/`, '../key'])
    assert.equal(codeOf(await keyring.findByKeyId(tenant, text)), 'NotFound');
});

test('names are found again after a restart, by another keyring over the same store', async (t) => {
  const { make, rotate, inner, clock } = start(t);
  const { kid, id, keyId } = await make({ alias: 'orders' });
  const second = (await rotate(kid)).keyId!;
  const again = makeKeyring(t, {}, inner).keyring;
  assert.equal(unwrap(await again.findByKeyId(tenant, keyId)).version.kid, `${id}#v1`);
  assert.equal(unwrap(await again.findByKeyId(tenant, second)).version.kid, `${id}#v2`);
  const named = unwrap(await again.findByAlias(tenant, placement, 'orders'));
  assert.equal(named.version.keyId, second);
  assert.ok(clock.nowMs > 0);
});

test('an alias is of one key of a tenant and place, over rotations, and free once that is revoked', async (t) => {
  const { keyring, make, rotate, revoke } = start(t);
  const first = await make({ alias: 'orders' });
  const second = await rotate(first.kid);
  assert.equal(codeOf(await keyring.create({ ...asked, alias: 'orders' })), 'Conflict');
  for (const other of [
    { tenant: 'other' },
    { placement: { ...placement, environment: 'dev' } as const },
    { placement: { ...placement, plane: 'shared' } as const },
    { alias: 'Orders' },
  ])
    assert.equal(codeOf(await keyring.create({ ...asked, alias: 'orders', ...other })), 'ok');
  unwrap(await revoke(second.kid));
  const gone = unwrap(await keyring.findByAlias(tenant, placement, 'orders'));
  assert.equal(gone.version.keyId, second.keyId);
  const next = await make({ alias: 'orders' });
  assert.equal(unwrap(await keyring.findByAlias(tenant, placement, 'orders')).version.keyId, next.keyId);
});

test('of keys that are made at once with one alias one is made, and a refused one leaves nothing', async (t) => {
  const { keyring, custody, inner } = start(t);
  const all = await Promise.all(Array.from({ length: 8 }, () => keyring.create({ ...asked, alias: 'one' })));
  assert.deepEqual(all.map(codeOf).sort(), [...Array(7).fill('Conflict'), 'ok']);
  assert.equal(custody.made, 1);
  assert.equal(unwrap(await inner.list({ prefix: idPrefix(tenant), limit: 100 })).length, 1);
  for (const alias of ['', 'two words', 'ä', 'x'.repeat(129)])
    assert.equal(codeOf(await keyring.create({ ...asked, alias })), 'BadRequest');
});

test('a record of a name that leads to another key is told and refused', async (t) => {
  const { keyring, make, inner, corrupt } = start(t);
  const one = await make({ alias: 'one' });
  const two = await make({ alias: 'two' });
  const storeKey = idPrefix(tenant) + one.keyId;
  await inner.commit([{ key: storeKey, value: Buffer.from(two.kid) }]);
  const aliased = 'key-alias/acme/prod/laptop/one';
  await inner.commit([{ key: aliased, value: Buffer.from(two.id) }]);
  assert.equal(codeOf(await keyring.findByKeyId(tenant, one.keyId)), 'Internal');
  assert.equal(codeOf(await keyring.findByAlias(tenant, placement, 'one')), 'Internal');
  assert.deepEqual(corrupt, [storeKey, aliased]);
});

test('states go from active over pending_rotation to archived by rotation and time', async (t) => {
  const { make, rotate, stateOf, clock } = start(t);
  const { kid, keyId } = await make();
  assert.equal(await stateOf(keyId), 'active');
  clock.nowMs += 1_000;
  const second = (await rotate(kid)).keyId!;
  assert.deepEqual([await stateOf(keyId), await stateOf(second)], ['pending_rotation', 'active']);
  clock.nowMs += 7 * dayMs - 1;
  assert.equal(await stateOf(keyId), 'pending_rotation');
  clock.nowMs += 1;
  assert.deepEqual([await stateOf(keyId), await stateOf(second)], ['archived', 'active']);
});

test('archiving ends making, of the current version too, and twice is as good as once', async (t) => {
  const { keyring, make, rotate, archive, stateOf, found, clock, schedule } = start(t);
  const { id, kid, keyId } = await make({ rotation: { afterDays: 90 } });
  const second = await rotate(kid);
  const done = unwrap(await archive(kid));
  assert.equal(done.archivedAtMs, clock.nowMs);
  assert.equal(await stateOf(keyId), 'archived');
  assert.equal(schedule.size, 1);
  clock.nowMs += 5_000;
  assert.deepEqual(unwrap(await archive(kid)), { ...done, replayed: true });
  unwrap(await archive(second.kid));
  assert.equal(await stateOf(second.keyId!), 'archived');
  assert.equal(schedule.size, 0);
  assert.equal((await found(second.keyId!)).current, false);
  assert.equal(keyStateOf(await keyring.rotate({ tenant, actor, kid: id })), 'Conflict inactive');
});

test('revoking wipes the private part for each reason, keeps the public one, and repeats its first answer', async (t) => {
  for (const reason of ['compromised', 'retired', 'policy_violation'] as const) {
    const { make, revoke, found, stateOf, custody, clock, inner } = start(t);
    const { id, kid, keyId } = await make();
    const before = (await found(keyId)).version.parts[0]!.publicKey;
    const done = unwrap(await revoke(kid, reason));
    assert.deepEqual(done, { kid, revokedAtMs: clock.nowMs, reason, replayed: false });
    assert.deepEqual(custody.destroyed, [kid]);
    clock.nowMs += 1_000;
    assert.deepEqual(unwrap(await revoke(kid, reason)), { ...done, replayed: true });
    assert.equal(await stateOf(keyId), 'destroyed');
    const { version, head } = await found(keyId);
    assert.deepEqual(version.revoked, { reason, atMs: done.revokedAtMs });
    assert.deepEqual(version.parts[0]!.publicKey, before);
    assert.equal(head.createdAtMs, clock.nowMs - 1_000);
    const [stored] = unwrap(await inner.list({ prefix: `ver/${id}`, limit: 5 }));
    assert.ok(!Buffer.from(stored!.value).includes(Buffer.from(`sealed 0 ${kid}`).toString('base64')));
  }
});

test('what was revoked for another reason, or destroyed for none, can be raised to compromised, and nothing lowers it', async (t) => {
  for (const first of ['retired', 'policy_violation', 'none'] as const) {
    const { keyring, make, revoke, rotate, found, stateOf, custody, clock } = start(t);
    const { id, kid, keyId } = await make();
    const isOld = first === 'retired';
    if (isOld) await rotate(kid);
    if (first === 'none') unwrap(await keyring.destroy({ tenant, actor, kid: id }));
    else unwrap(await revoke(kid, first));
    const firstAtMs = clock.nowMs;
    const { length } = custody.destroyed;
    clock.nowMs += 1_000;
    const raised = unwrap(await revoke(kid, 'compromised'));
    const revokedAtMs = first === 'none' ? clock.nowMs : firstAtMs;
    assert.deepEqual(raised, { kid, revokedAtMs, reason: 'compromised', replayed: false });
    assert.equal(custody.destroyed.length, length, 'the private part was gone');
    clock.nowMs += 1_000;
    for (const later of ['compromised', 'retired', 'policy_violation'] as const)
      assert.deepEqual(unwrap(await revoke(kid, later)), { ...raised, replayed: true });
    const { version, head } = await found(keyId);
    assert.deepEqual(version.revoked, { reason: 'compromised', atMs: revokedAtMs });
    assert.equal(await stateOf(keyId), 'destroyed');
    assert.equal(head.state, isOld ? 'active' : 'destroyed');
    assert.deepEqual(
      keyring.counts().map(({ count }) => count),
      [isOld ? 1 : 0],
    );
  }
});

test('nothing leaves destroyed', async (t) => {
  const { keyring, make, rotate, revoke, archive, stateOf, clock } = start(t);
  const { id, kid, keyId } = await make();
  const second = await rotate(kid);
  unwrap(await revoke(kid));
  unwrap(await revoke(second.kid));
  for (const named of [kid, second.kid]) assert.equal(keyStateOf(await archive(named)), 'Conflict destroyed');
  for (const named of [id, second.kid])
    assert.equal(keyStateOf(await keyring.rotate({ tenant, actor, kid: named })), 'Conflict destroyed');
  clock.nowMs += 400 * dayMs;
  for (const name of [keyId, second.keyId!]) assert.equal(await stateOf(name), 'destroyed');
});

test('a revoked old version leaves the others, and a revoked current one leaves the old ones', async (t) => {
  const { keyring, make, rotate, revoke, stateOf, found } = start(t);
  const { kid, keyId } = await make({ algorithm: aes });
  const second = await rotate(kid);
  const third = await rotate(second.kid);
  unwrap(await revoke(kid));
  assert.deepEqual(await Promise.all([keyId, second.keyId!, third.keyId!].map(stateOf)), [
    'destroyed',
    'pending_rotation',
    'active',
  ]);
  unwrap(await revoke(third.kid));
  assert.equal(await stateOf(second.keyId!), 'pending_rotation');
  const old = await found(second.keyId!);
  assert.equal(old.version.state, 'active');
  assert.ok(old.version.parts[0]!.keyReference.length > 0);
  // The destruction of the whole key ends what a revocation left.
  unwrap(await keyring.destroy({ tenant, actor, kid: second.kid.replace('#v2', '') }));
  assert.equal(await stateOf(second.keyId!), 'destroyed');
});

test('archived and pending versions are revoked as active ones are', async (t) => {
  const { make, rotate, revoke, archive, stateOf, clock } = start(t);
  const one = await make();
  await rotate(one.kid);
  unwrap(await revoke(one.kid));
  assert.equal(await stateOf(one.keyId), 'destroyed');
  const two = await make();
  unwrap(await archive(two.kid));
  unwrap(await revoke(two.kid));
  assert.equal(await stateOf(two.keyId), 'destroyed');
  const three = await make();
  await rotate(three.kid);
  clock.nowMs += 30 * dayMs;
  assert.equal(await stateOf(three.keyId), 'archived');
  unwrap(await revoke(three.kid));
  assert.equal(await stateOf(three.keyId), 'destroyed');
});

test('an agreement is asked once, and not for what is refused, repeated or done already', async (t) => {
  const { keyring, make, revoke } = start(t);
  let asks = 0;
  const agreed = async () => {
    asks += 1;
    return undefined;
  };
  const operation = { id: '11111111-2222-4333-8444-555555555555', body: { a: 1 } };
  const made = unwrap(await keyring.create({ ...asked, agreed, operation, alias: 'x' }));
  unwrap(await keyring.create({ ...asked, agreed, operation, alias: 'x' }));
  assert.equal(codeOf(await keyring.create({ ...asked, agreed, alias: 'x' })), 'Conflict');
  assert.equal(asks, 1);
  const change = { tenant, actor, kid: made.kid, agreed };
  unwrap(await keyring.archive(change));
  unwrap(await keyring.archive(change));
  assert.equal(codeOf(await keyring.rotate(change)), 'Conflict');
  assert.equal(asks, 2);
  unwrap(await keyring.revoke({ ...change, reason: 'retired' }));
  unwrap(await keyring.revoke({ ...change, reason: 'retired' }));
  assert.equal(asks, 3);
  unwrap(await keyring.revoke({ ...change, reason: 'compromised' }));
  unwrap(await keyring.revoke({ ...change, reason: 'compromised' }));
  assert.equal(asks, 4);
  const other = await make();
  const refuses = async () => ({ ok: false, failure: { code: 'NoCapability' } }) as const;
  for (const result of [
    await keyring.rotate({ tenant, actor, kid: other.kid, agreed: refuses }),
    await keyring.archive({ tenant, actor, kid: other.kid, agreed: refuses }),
    await keyring.revoke({ tenant, actor, kid: other.kid, agreed: refuses, reason: 'retired' }),
    await keyring.create({ ...asked, agreed: refuses }),
  ])
    assert.equal(codeOf(result), 'NoCapability');
  assert.equal(codeOf(await revoke(other.kid)), 'ok');
});

test('a change that the store refuses leaves the version as it was, and is done when it is asked again', async (t) => {
  const { make, revoke, archive, stateOf, store } = start(t);
  const { kid, keyId } = await make();
  store.failing.add('commit');
  assert.equal(codeOf(await archive(kid)), 'StoreUnavailable');
  assert.equal(codeOf(await revoke(kid)), 'StoreUnavailable');
  store.failing.clear();
  assert.equal(await stateOf(keyId), 'active');
  unwrap(await archive(kid));
  unwrap(await revoke(kid));
  assert.equal(await stateOf(keyId), 'destroyed');
});

test('a key past its end is archived, and has no new version and no schedule', async (t) => {
  const { keyring, make, stateOf, clock, schedule } = start(t);
  const { id, keyId } = await make({
    validUntilMs: clock.nowMs + dayMs,
    rotation: { afterDays: 1 },
  });
  assert.equal(await stateOf(keyId), 'active');
  clock.nowMs += dayMs;
  assert.equal(await stateOf(keyId), 'archived');
  assert.equal(keyStateOf(await keyring.rotate({ tenant, actor, kid: id })), 'Conflict inactive');
  assert.deepEqual(schedule.due(clock.nowMs + dayMs), []);
});

test('rotation keeps what the key has: created, alias, placement, end and access', async (t) => {
  const { make, rotate, found, clock } = start(t);
  const more = { alias: 'a', validUntilMs: clock.nowMs + dayMs, access: { maxUsagePerDay: 5 } };
  const { kid, keyId } = await make(more);
  const { head: before } = await found(keyId);
  clock.nowMs += 1_000;
  const { head } = await found((await rotate(kid)).keyId!);
  assert.deepEqual({ ...head, currentVersion: 1, revision: 1 }, before);
});

test('versions are counted by algorithm and state, over rotation, time, endings and a restart', async (t) => {
  const { keyring, make, rotate, revoke, archive, clock, inner, custody } = start(t);
  const counts = (from = keyring) =>
    Object.fromEntries(from.stateCounts().map(({ alg, state, count }) => [`${alg} ${state}`, count]));
  const one = await make();
  await rotate(one.kid);
  const two = await make({ algorithm: aes });
  unwrap(await archive(two.kid));
  const three = await make();
  unwrap(await revoke(three.kid));
  const expected = {
    'ed25519 active': 1,
    'ed25519 pending_rotation': 1,
    'ed25519 destroyed': 1,
    'aes-256-gcm archived': 1,
  };
  assert.deepEqual(counts(), expected);
  const again = openKeyring({
    ...{ store: inner, custodies: new Map([[custody.backend, new NamedParts()]]), clock, mac: testMac },
    journal: { record: async () => ({ ok: true, value: { end: () => {} } }) },
    ...{ onForget: () => {}, onCorruptRecord: () => {}, onUnknownBackend: () => {} },
  });
  t.after(() => again.close());
  await until(() => again.stateCounts().length === 4);
  assert.deepEqual(counts(again), expected);
  clock.nowMs += 8 * dayMs;
  assert.deepEqual(counts(), {
    'ed25519 active': 1,
    'ed25519 archived': 1,
    'ed25519 destroyed': 1,
    'aes-256-gcm archived': 1,
  });
});

test('key_ids of a tenant are listed in their order, page by page', async (t) => {
  const { keyring, make } = start(t);
  const made: string[] = [];
  for (let n = 0; n < 7; n++) made.push((await make()).keyId);
  await keyring.create({ ...asked, tenant: 'other' });
  const listed: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = unwrap(await keyring.keyIds({ tenant, limit: 3, ...(after && { after }) }));
    listed.push(...page.map(({ keyId }) => keyId));
    if (page.length < 3) break;
    after = listed.at(-1);
  }
  assert.deepEqual(listed, made.toSorted());
});
