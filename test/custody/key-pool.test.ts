import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import test, { type TestContext } from 'node:test';
import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { refuse } from '../../src/core/result.ts';
import { createReseal } from '../../src/custody/root-key/rotation/reseal-records.ts';
import { keyReferenceOf } from '../../src/custody/software/index.ts';
import { SoftwareKeyPool } from '../../src/custody/software/key-pool.ts';
import { buildKeyReference, pooledPartName, poolTenant } from '../../src/engine/key-reference.ts';
import type { RecordMac } from '../../src/keys/authenticity.ts';
import { decodeVersion, poolPrefix, versionsPrefix } from '../../src/keys/codec.ts';
import { parseKid } from '../../src/keys/kid.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { ed25519, NamedParts, SetClock, testMac, unwrap } from '../support/keyring.ts';

const rsa = findAlgorithm('rsa-2048')!;

async function openPool(store: Store, target: number, clock = new SetClock()) {
  const custody = new NamedParts();
  const counts = { made: 0, taken: 0, missed: 0 };
  const corrupt: string[] = [];
  const state = { idle: true };
  const pool = unwrap(
    await SoftwareKeyPool.open({
      ...{ store, mac: testMac, clock, target },
      generate: (...of) => custody.generate(...of),
      idle: () => state.idle,
      observer: {
        made: () => counts.made++,
        taken: () => counts.taken++,
        missed: () => counts.missed++,
      },
      onCorruptEntry: (entry) => corrupt.push(entry),
    }),
  );
  const fill = async (looks: number) => {
    for (let n = 0; n < looks; n++) {
      await pool.look();
      clock.nowMs += 100;
    }
  };
  return { pool, custody, counts, corrupt, state, clock, fill };
}

function keysOver(t: TestContext, store: Store, pool: SoftwareKeyPool) {
  const custody = new NamedParts();
  const keyring = openKeyring({
    ...{ store, pool, mac: testMac, clock: new SetClock(), custodies: new Map([['software', custody]]) },
    journal: { record: async () => ({ ok: true, value: { end: () => {} } }) },
    ...{ onForget() {}, onCorruptRecord() {}, onUnknownBackend() {} },
  });
  t.after(() => keyring.close());
  const create = (algorithm = rsa) => keyring.create({ tenant: 'acme', actor: 'a', purpose: 'p', algorithm });
  return { keyring, custody, create };
}

const namesIn = async (store: Store) =>
  unwrap(await store.list({ prefix: poolPrefix, limit: 1_000 })).map(({ key }) => key);

test('keys are made one at a time, up to the target, and only while nothing else has been done for a while', async () => {
  const store = new MemoryStore();
  const { pool, custody, counts, state, fill } = await openPool(store, 3);
  state.idle = false;
  await fill(10);
  assert.equal(pool.fill, 0);
  state.idle = true;
  await fill(2);
  assert.equal(pool.fill, 0, 'between two requests nobody is idle');
  let [atOnce, most] = [0, 0];
  custody.beforeGenerate = async () => {
    most = Math.max(most, ++atOnce);
    await new Promise((resolve) => setImmediate(resolve));
    atOnce--;
  };
  await Promise.all([fill(2), fill(2), fill(2)]);
  await fill(5);
  assert.deepEqual([pool.fill, counts.made, most], [3, 3, 1]);
  assert.equal((await namesIn(store)).length, 3);
  custody.failing = true;
  await pool.take(rsa);
  await fill(5);
  assert.equal(counts.made, 3);
  await pool.close();
});

test('a key that is made takes its private part out of the pool in the same commit', async (t) => {
  const store = new MemoryStore();
  const { pool, counts, fill } = await openPool(store, 2);
  await fill(8);
  const { keyring, custody, create } = keysOver(t, store, pool);
  const commits: string[][] = [];
  const { commit } = store;
  store.commit = (changes) => {
    commits.push(changes.map(({ key, value }) => `${value === undefined ? 'gone ' : ''}${key}`));
    return commit.call(store, changes);
  };
  const made = unwrap(await create());
  assert.equal(custody.made, 0);
  assert.equal(commits.length, 1);
  assert.equal(commits[0]?.filter((change) => change.startsWith(`gone ${poolPrefix}`)).length, 1);
  const rotated = unwrap(await keyring.rotate({ tenant: 'acme', actor: 'a', kid: made.kid }));
  assert.deepEqual([pool.fill, counts.taken, custody.made], [0, 2, 0]);
  assert.notDeepEqual(made.publicKeys, rotated.publicKeys);
  unwrap(await create());
  unwrap(await create(ed25519));
  assert.deepEqual([counts.missed, custody.made], [1, 2], 'an empty pool holds up nobody');
  const found = unwrap(await keyring.find('acme', made.kid));
  assert.ok(found.version.parts[0]?.publicKey.length);
  await pool.close();
});

test('at once, as many keys as the pool has are made from it, and no two are the same', async (t) => {
  const store = new MemoryStore();
  const { pool, counts, fill } = await openPool(store, 20);
  await fill(40);
  const { custody, create } = keysOver(t, store, pool);
  const made = await Promise.all(Array.from({ length: 30 }, () => create()));
  const publicKeys = made.map((one) => Buffer.from(unwrap(one).publicKeys[0]!).toString('hex'));
  assert.equal(new Set(publicKeys).size, 30);
  assert.deepEqual([counts.taken, counts.missed, custody.made], [20, 10, 10]);
  assert.deepEqual(await namesIn(store), []);
  await pool.close();
});

test('whenever the process ends, a private part is in the pool or in one key', async (t) => {
  const inner = new MemoryStore();
  const first = await openPool(inner, 2);
  await first.fill(8);
  // Ended before the commit, and after it: the pool of that process is never heard of again.
  for (const ended of ['commit', 'commit-after'] as const) {
    const store = new FaultyStore(inner);
    const { pool } = await openPool(store, 2);
    const { create } = keysOver(t, store, pool);
    const before = (await namesIn(inner)).length;
    store.failing.add(ended);
    assert.equal((await create()).ok, false);
    assert.equal((await namesIn(inner)).length, ended === 'commit' ? before : before - 1);
  }
  const { pool } = await openPool(inner, 2);
  assert.equal(pool.fill, 1);
  const { create } = keysOver(t, inner, pool);
  unwrap(await create());
  const versions = unwrap(await inner.list({ prefix: versionsPrefix, limit: 100 }));
  const pooled = versions.map(({ value }) => /"pooled":"([^"]+)"/.exec(Buffer.from(value).toString())?.[1]);
  assert.equal(pooled.length, 2);
  assert.equal(new Set(pooled).size, 2);
});

test('two processes with one store do not give the same one to two keys', async (t) => {
  const store = new MemoryStore();
  const first = await openPool(store, 1);
  await first.fill(8);
  const second = await openPool(store, 1);
  const [one, two] = [keysOver(t, store, first.pool), keysOver(t, store, second.pool)];
  const made = await Promise.all([one.create(), two.create()]);
  assert.deepEqual(made.map(({ ok }) => ok).sort(), [false, true]);
});

test('what a failed change did not take lies ready again, later', async (t) => {
  const inner = new MemoryStore();
  const store = new FaultyStore(inner);
  const { pool, clock, counts, fill } = await openPool(store, 1);
  await fill(8);
  const { create } = keysOver(t, store, pool);
  store.failing.add('commit');
  assert.equal((await create()).ok, false);
  store.failing.clear();
  await fill(5);
  assert.deepEqual([pool.fill, counts.made], [0, 1], 'none is made in its place');
  clock.nowMs += 60_000;
  await fill(1);
  assert.equal(pool.fill, 1);
  unwrap(await create());
  assert.equal(counts.taken, 1);
  await pool.close();
});

test('an entry that is not authentic, or of which a part is missing, is told and becomes no key', async () => {
  const store = new MemoryStore();
  const { pool, corrupt, fill } = await openPool(store, 2);
  await fill(8);
  const [one, other] = unwrap(await store.list({ prefix: poolPrefix, limit: 10 }));
  await store.commit([
    { key: one!.key, value: Buffer.from(one!.value).fill(0, 40, 50) },
    { key: other!.key, value: other!.value.subarray(0, -8) },
  ]);
  assert.equal(await pool.take(rsa), undefined);
  assert.deepEqual(corrupt.sort(), [one!.key, other!.key].sort());
  assert.equal(await pool.take(ed25519), undefined);
  await pool.close();
});

test('a record of such a key names the pool, and is sealed anew with it under another root key', async (t) => {
  const store = new MemoryStore();
  const { pool, fill } = await openPool(store, 2);
  await fill(8);
  const { create } = keysOver(t, store, pool);
  const made = unwrap(await create());
  const kid = parseKid(made.kid)!;
  const { key, value } = unwrap(await store.list({ prefix: versionsPrefix, limit: 1 }))[0]!;
  const version = decodeVersion(key, kid, value, testMac)!;
  const [part] = version.parts;
  const name = part!.pooled!.name;
  const reference = buildKeyReference(poolTenant, pooledPartName(name), part!.sealed!);
  assert.deepEqual(keyReferenceOf(part!, 0, 'acme', made.kid), reference);
  const nextMac: RecordMac = Object.assign(
    (message: Uint8Array) => createHmac('sha256', 'next').update(message).digest(),
    { before: testMac },
  );
  const asked: string[] = [];
  const reseal = createReseal({
    engine: {
      reseal(_from: unknown, _to: unknown, tenant: string, aad: string, sealed: Uint8Array) {
        asked.push(`${tenant} ${aad}`);
        return Buffer.from(`anew ${Buffer.from(sealed)}`);
      },
    } as never,
    ...{ from: 1, to: 2, mac: nextMac },
  });
  const anew = decodeVersion(key, kid, reseal(key, value)!, nextMac)!;
  assert.match(Buffer.from(anew.parts[0]!.sealed!).toString(), /^anew sealed/);
  assert.equal(anew.parts[0]!.pooled!.name, name);
  const [left] = unwrap(await store.list({ prefix: poolPrefix, limit: 1 }));
  assert.ok(reseal(left!.key, left!.value));
  assert.deepEqual(asked, [`/pool pool/${name}/0`, `/pool pool/${left!.key.slice(poolPrefix.length)}/0`]);
  await pool.close();
});

test('a store that does not answer refuses the pool, and keys are made without it', async () => {
  const store = new FaultyStore(new MemoryStore());
  store.failing.add('list');
  const opened = await SoftwareKeyPool.open({
    ...{ store, mac: testMac, clock: new SetClock(), target: 1 },
    generate: async () => refuse('Internal'),
    idle: () => true,
    observer: { made() {}, taken() {}, missed() {} },
    onCorruptEntry() {},
  });
  assert.equal(opened.ok, false);
});
