import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { boundAad, type Dek, type DekVersion, isBinding, wrapAadOf } from '../../src/operations/deks/dek.ts';
import { DekStore } from '../../src/operations/deks/dek-store.ts';
import { openSnapshots } from '../../src/operations/deks/rotation/snapshots.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { testMac } from '../support/keyring.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const dekOf = (id: string, kek = 1): Dek => ({
  ...{ id, state: 'active', createdAtMs: 1 },
  versions: [{ version: 1, kek, wrapped: new Uint8Array(60), createdAtMs: 1 }],
});

test('no two DEKs and AADs share a binding, whatever colons they hold, and no wrapping shares one either', () => {
  const colons = fc.constantFrom('a', 'b', ':', '::', '::v1', '1', '2::', 'sample');
  const text = fc.array(colons, { minLength: 1, maxLength: 5 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(text, text, text, text, (id, aad, otherId, otherAad) => {
      fc.pre(id !== otherId || aad !== otherAad);
      const [one, other] = [boundAad(id, Buffer.from(aad)), boundAad(otherId, Buffer.from(otherAad))];
      assert.notDeepEqual(one, other);
      assert.ok(isBinding(one) && isBinding(wrapAadOf(id, 1)));
      if (id !== otherId) assert.notDeepEqual(wrapAadOf(id, 1), wrapAadOf(otherId, 1));
    }),
  );
  assert.notDeepEqual(boundAad('a', Buffer.from('b::c')), boundAad('a::b', Buffer.from('c')));
});

/** A store whose next commit, or next get, waits until it is let go. */
function held(store: Store) {
  let wait: Promise<void> | undefined;
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    wait = promise;
    return () => {
      wait = undefined;
      resolve();
    };
  };
  const proxy = {
    durable: false,
    get: async (key: string) => {
      const found = await store.get(key);
      await wait;
      return found;
    },
    commit: async (changes: Parameters<Store['commit']>[0]) => {
      await wait;
      return store.commit(changes);
    },
    list: (range: Parameters<Store['list']>[0]) => store.list(range),
  } as Store;
  return { store: proxy, hold };
}

function openHeld() {
  const { store, hold } = held(new MemoryStore());
  return { hold, deks: new DekStore({ store, mac: testMac, onCorruptRecord: () => assert.fail() }) };
}

test('the fence waits for DEKs that were taken before it: a rotation of the KEK passes none over', async () => {
  const { deks, hold } = openHeld();
  const letGo = hold();
  const putting = deks.put(dekOf('k1'), undefined);
  let fenced = false;
  const fencing = deks.fence(2).then(() => {
    fenced = true;
  });
  for (let turn = 0; turn < 20; turn++) await undefined;
  assert.equal(fenced, false);
  letGo();
  await fencing;
  assert.deepEqual(await putting, { ok: true, value: 'put' });
  const page = await deks.page(undefined, 10);
  assert.deepEqual(page.ok && page.value.deks.map(({ dek }) => dek.id), ['k1']);
  assert.deepEqual(await deks.put(dekOf('k2'), undefined), { ok: true, value: 'behind' });
});

test('a DEK that was read before its destruction does not come back into the cache after it', async () => {
  const { deks, hold } = openHeld();
  await deks.put(dekOf('k1'), undefined);
  const before = await deks.find('k1');
  assert.ok(before.ok && before.value !== undefined);
  // A change that comes too late leaves the cache empty.
  await deks.put(dekOf('k1'), undefined);
  const letGo = hold();
  const reading = deks.find('k1');
  for (let turn = 0; turn < 20; turn++) await undefined;
  const destroying = deks.put({ ...before.value.dek, state: 'destroyed', versions: [] }, before.value);
  letGo();
  await destroying;
  await deks.put(dekOf('k1'), undefined);
  await reading;
  const now = await deks.find('k1');
  assert.equal(now.ok && now.value?.dek.state, 'destroyed');
});

test('what others put beside the snapshots is neither followed, nor counted, nor in the way', async (t) => {
  const directory = join(temporaryDirectory(t), 'kms-deks-backup');
  const rotation = join(directory, 'kek-v2');
  mkdirSync(rotation, { recursive: true });
  const elsewhere = join(temporaryDirectory(t), 'elsewhere');
  writeFileSync(elsewhere, 'precious');
  symlinkSync(elsewhere, join(rotation, 'k1.json.new'));
  symlinkSync('/nowhere', join(rotation, 'k9.json'));
  mkdirSync(join(rotation, 'k8.json'));
  mkdirSync(join(rotation, 'k7.json.new'));
  symlinkSync(temporaryDirectory(t), join(directory, 'kek-v3'));
  writeFileSync(join(directory, 'kek-v4'), '');
  const others = ['notes.txt', 'mine.new', 'k1.json.bak'];
  for (const name of others) writeFileSync(join(rotation, name), '');
  const snapshots = await openSnapshots(directory);
  symlinkSync(elsewhere, join(rotation, 'k2.json.new'));
  await snapshots.write([dekOf('k1'), dekOf('k2')], 2);
  const listed = await snapshots.list();
  assert.deepEqual(
    listed.map(({ target, needs }) => [target, needs(1), needs(2)]),
    [[2, true, false]],
  );
  await snapshots.removeOf('k1');
  assert.ok(!readdirSync(rotation).includes('k1.json'));
  await Promise.all([...listed.map((each) => each.remove()), snapshots.list(), snapshots.removeOf('k2')]);
  const [left] = await snapshots.list();
  assert.equal(left?.needs(1), false);
  assert.deepEqual(readdirSync(rotation).sort(), [...others, 'k7.json.new', 'k8.json'].sort());
  assert.equal(readFileSync(elsewhere, 'utf8'), 'precious');
});

test('snapshots of which one cannot be written are told of when nothing is being written any more', async (t) => {
  const directory = temporaryDirectory(t);
  const inTheWay = join(directory, 'kek-v2', 'k0.json');
  mkdirSync(join(inTheWay, 'x'), { recursive: true });
  const snapshots = await openSnapshots(directory);
  const deks = Array.from({ length: 12 }, (_, n) => dekOf(`k${n}`));
  await assert.rejects(snapshots.write(deks, 2));
  const parts = readdirSync(join(directory, 'kek-v2')).filter((name) => name.endsWith('.new'));
  assert.deepEqual(parts, ['k0.json.new']);
  rmSync(inTheWay, { recursive: true });
  await snapshots.write(deks, 2);
  for (const { id } of deks) assert.equal((await snapshots.read(id, 2))?.id, id);
});

test('the KEKs that snapshots need are known of each rotation, and all before it where their list is damaged', async (t) => {
  const directory = join(temporaryDirectory(t), 'kms-deks-backup');
  const snapshots = await openSnapshots(directory);
  const needed = async () => (await snapshots.list()).map(({ needs }) => [1, 2, 3, 4].filter(needs));
  await snapshots.write([dekOf('k1')], 4);
  assert.deepEqual(await needed(), [[1]]);
  const [version] = dekOf('k2').versions;
  await snapshots.write([{ ...dekOf('k2'), versions: [{ ...(version as DekVersion), kek: 3 }] }], 4);
  assert.deepEqual(await needed(), [[1, 3]]);
  for (const damaged of ['', '[1', '{"keks":1}', '["1"]']) {
    writeFileSync(join(directory, 'kek-v4', 'keks'), damaged);
    assert.deepEqual(await needed(), [[1, 2, 3]], damaged);
  }
  rmSync(join(directory, 'kek-v4', 'keks'));
  assert.deepEqual(await needed(), [[1, 2, 3]]);
  const [rotation] = await snapshots.list();
  await rotation?.removeOf(new Set(['k1', 'k2']));
  assert.deepEqual(await needed(), [[]]);
  await (await snapshots.list())[0]?.remove();
  assert.deepEqual(readdirSync(directory), []);
});
