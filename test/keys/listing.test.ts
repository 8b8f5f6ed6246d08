import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Algorithm } from '../../src/algorithms/descriptor.ts';
import { KeyCounter } from '../../src/keys/counter.ts';
import type { Keyring, ListKeys } from '../../src/keys/keyring.ts';
import { codeOf, ed25519, hybrid, makeKeyring, until, unwrap } from '../support/keyring.ts';

async function create(keyring: Keyring, tenant: string, purpose: string, algorithm: Algorithm = ed25519) {
  return unwrap(await keyring.create({ actor: 'tester', tenant, purpose, algorithm })).kid.replace('#v1', '');
}

async function allOf(keyring: Keyring, request: ListKeys): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page = unwrap(await keyring.list({ ...request, ...(cursor === undefined ? {} : { cursor }) }));
    assert.ok(page.keys.length <= (request.limit ?? 100));
    ids.push(...page.keys.map((head) => head.id));
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return ids;
}

test("a listing gives the tenant's keys that pass its filters, each once, whatever the page", async (t) => {
  const { keyring } = makeKeyring(t);
  const made: { id: string; purpose: string; algorithm: Algorithm }[] = [];
  for (let index = 0; index < 30; index += 1) {
    const purpose = ['p', 'p1', 'pp'][index % 3]!;
    const algorithm = index % 2 === 0 ? ed25519 : hybrid;
    made.push({ id: await create(keyring, 'acme', purpose, algorithm), purpose, algorithm });
    await create(keyring, ['acme1', 'acm', 'p'][index % 3]!, purpose, algorithm);
  }
  for (const purpose of [undefined, 'p', 'p1', 'pp', 'none']) {
    for (const algorithm of [undefined, ed25519, hybrid]) {
      const expected = made
        .filter((each) => purpose === undefined || each.purpose === purpose)
        .filter((each) => algorithm === undefined || each.algorithm === algorithm)
        .map((each) => each.id)
        .toSorted();
      for (const limit of [1, 3, 5, 1000]) {
        const request = {
          tenant: 'acme',
          limit,
          ...(purpose === undefined ? {} : { purpose }),
          ...(algorithm === undefined ? {} : { algorithm }),
        };
        assert.deepEqual(await allOf(keyring, request), expected);
      }
    }
  }
});

test('long listings go over many pages of the store', async (t) => {
  const { keyring } = makeKeyring(t);
  const made: string[] = [];
  for (let index = 0; index < 700; index += 1) made.push(await create(keyring, 'acme', 'p'));
  for (const limit of [7, 256, 300, 700, 1000]) {
    assert.deepEqual(await allOf(keyring, { tenant: 'acme', limit }), made.toSorted());
  }
  assert.deepEqual(await allOf(keyring, { tenant: 'acme', algorithm: hybrid, limit: 1 }), []);
});

test('cursors of other tenants, other filters, and altered ones are refused', async (t) => {
  const { keyring } = makeKeyring(t);
  for (const tenant of ['acme', 'evil']) {
    for (const purpose of ['p', 'q']) {
      for (let index = 0; index < 3; index += 1) await create(keyring, tenant, purpose);
    }
  }
  const cursorOf = async (request: ListKeys) =>
    unwrap(await keyring.list({ ...request, limit: 1 })).nextCursor!;
  const foreign = await cursorOf({ tenant: 'evil' });
  const own = await cursorOf({ tenant: 'acme', purpose: 'p' });
  const bad = [
    foreign,
    '',
    'x',
    `${own}=`,
    `${own}A`,
    own.slice(0, -1),
    own.toLowerCase(),
    'A'.repeat(100_000),
    Buffer.from('acme/p/ed25519/').toString('base64url'),
    Buffer.from(`${Buffer.from(own, 'base64url')}#v1`).toString('base64url'),
  ];
  for (const cursor of bad) {
    assert.equal(codeOf(await keyring.list({ tenant: 'acme', cursor })), 'BadRequest', cursor.slice(0, 100));
  }
  assert.equal(codeOf(await keyring.list({ tenant: 'acme', purpose: 'q', cursor: own })), 'BadRequest');
  assert.equal(codeOf(await keyring.list({ tenant: 'acme', cursor: own })), 'ok');
  for (const limit of [0, 1_001, -1, 1.5]) {
    assert.equal(codeOf(await keyring.list({ tenant: 'acme', limit })), 'BadRequest');
  }
});

test('a record that cannot be read is reported and does not hide the others', async (t) => {
  const { keyring, inner, corrupt } = makeKeyring(t);
  const ids = [await create(keyring, 'acme', 'p'), await create(keyring, 'acme', 'p')].toSorted();
  await inner.commit([{ key: `key/${ids[0]}`, value: Buffer.from('{}') }]);
  assert.deepEqual(await allOf(keyring, { tenant: 'acme' }), [ids[1]]);
  assert.deepEqual(corrupt, [`key/${ids[0]}`]);
});

test('a description has the newest 256 versions, or the one that the kid names', async (t) => {
  const { keyring } = makeKeyring(t);
  const id = await create(keyring, 'acme', 'p', hybrid);
  for (let version = 2; version <= 300; version += 1)
    unwrap(await keyring.rotate({ actor: 'tester', tenant: 'acme', kid: id }));
  const { versions, head, algorithm } = unwrap(await keyring.describe('acme', id));
  assert.deepEqual(
    versions.map((each) => each.version),
    Array.from({ length: 256 }, (_, index) => 300 - index),
  );
  assert.equal(head.currentVersion, 300);
  assert.equal(algorithm, hybrid);
  const only = unwrap(await keyring.describe('acme', `${id}#v3`)).versions;
  assert.deepEqual(
    only.map((each) => [each.kid, each.publicKeys.map((key) => Buffer.from(key).toString())]),
    [[`${id}#v3`, [`public 0 ${id}#v3`, `public 1 ${id}#v3`]]],
  );
  assert.equal(codeOf(await keyring.describe('acme', `${id}#v301`)), 'NotFound');
  assert.equal(codeOf(await keyring.describe('acme', id.replace(/.{12}$/, '000000000000'))), 'NotFound');
  assert.equal(codeOf(await keyring.describe('acme', 'x')), 'BadRequest');
});

test('active keys are counted by tenant, purpose and algorithm, those of an earlier run too', async (t) => {
  const first = makeKeyring(t);
  const ids: string[] = [];
  for (let index = 0; index < 600; index += 1)
    ids.push(await create(first.keyring, 'acme', index < 400 ? 'p' : 'q'));
  unwrap(await first.keyring.destroy({ actor: 'tester', tenant: 'acme', kid: ids[0]! }));
  const expected = (p: number, q: number) => [
    { tenant: 'acme', purpose: 'p', alg: 'ed25519', count: p },
    { tenant: 'acme', purpose: 'q', alg: 'ed25519', count: q },
  ];
  assert.deepEqual(first.keyring.counts(), expected(399, 200));

  // Changes while the second one's scan is on its way are neither missed nor counted twice.
  const second = makeKeyring(t, {}, first.inner).keyring;
  for (let index = 1; index < 50; index += 1) {
    unwrap(await second.destroy({ actor: 'tester', tenant: 'acme', kid: ids[index * 10]! }));
    await create(second, 'acme', 'q');
    await setImmediate();
  }
  const sorted = () => [...second.counts()].toSorted((one, two) => (one.purpose < two.purpose ? -1 : 1));
  const destroyedP = Array.from({ length: 49 }, (_, index) => (index + 1) * 10).filter(
    (index) => index < 400,
  ).length;
  const final = expected(399 - destroyedP, 200 - (49 - destroyedP) + 49);
  const total = () => second.counts().reduce((sum, each) => sum + each.count, 0);
  await until(() => total() === 599);
  assert.deepEqual(sorted(), final);
});

test('the counts have at most a thousand series; the rest is together', () => {
  const counter = new KeyCounter();
  counter.scanEnded();
  for (let index = 0; index < 1_500; index += 1) {
    const head = {
      id: `t${index}/p/ed25519/x`,
      tenant: `t${index}`,
      purpose: 'p',
      alg: 'ed25519',
      state: 'active',
      currentVersion: 1,
      createdAtMs: 0,
      revision: 1,
      backend: 'software',
    } as const;
    counter.begin(head, 'created').end(true);
    counter.begin(head, 'created').end(false);
    if (index >= 1_400) counter.begin(head, 'destroyed').end(true);
  }
  const counts = counter.counts();
  assert.equal(counts.length, 1_001);
  assert.deepEqual(counts.at(-1), { tenant: 'other', purpose: 'other', alg: 'other', count: 400 });
});
