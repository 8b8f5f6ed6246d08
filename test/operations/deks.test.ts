import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { boundAad, type Dek, isBinding, wrapAadOf } from '../../src/operations/deks/dek.ts';
import { DekStore } from '../../src/operations/deks/dek-store.ts';
import { openSnapshots } from '../../src/operations/deks/snapshots.ts';
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
  mkdirSync(directory);
  const elsewhere = join(temporaryDirectory(t), 'elsewhere');
  writeFileSync(elsewhere, 'precious');
  symlinkSync(elsewhere, join(directory, 'k1.kek-v2.json.new'));
  symlinkSync('/nowhere', join(directory, 'k9.kek-v2.json'));
  mkdirSync(join(directory, 'k8.kek-v2.json'));
  mkdirSync(join(directory, 'k7.kek-v2.json.new'));
  for (const name of ['notes.txt', 'mine.new', 'k1.kek-v2.json.bak'])
    writeFileSync(join(directory, name), '');
  const snapshots = await openSnapshots(directory);
  symlinkSync(elsewhere, join(directory, 'k2.kek-v2.json.new'));
  for (const id of ['k1', 'k2']) await snapshots.write(dekOf(id), 2);
  const listed = await snapshots.list();
  assert.deepEqual(listed.map(({ dekId }) => dekId).sort(), ['k1', 'k2']);
  assert.deepEqual(await (listed[0] as (typeof listed)[0]).keks(), [1]);
  await snapshots.removeOf('k1');
  await Promise.all([
    ...listed.map((each) => snapshots.remove(each)),
    snapshots.list(),
    snapshots.removeOf('k2'),
  ]);
  assert.deepEqual(await snapshots.list(), []);
  assert.ok(
    ['notes.txt', 'mine.new', 'k1.kek-v2.json.bak'].every((each) => readdirSync(directory).includes(each)),
  );
});
