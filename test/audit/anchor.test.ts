import assert from 'node:assert/strict';
import test from 'node:test';
import { type Anchor, anchorKey, storeAnchors } from '../../src/audit/disk/anchor.ts';
import { softwareMacKey } from '../../src/core/mac-key.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';

const key = softwareMacKey(Buffer.alloc(32, 7));

function anchor(size: number, over: Partial<Anchor> = {}): Anchor {
  const root = new Uint8Array(32).fill(size);
  return { origin: 'kms.example/audit/1', epoch: 1, size, root, bootId: '1'.repeat(32), ...over };
}

test('an anchor goes forward only: not to a smaller tree, another root, another log or an older epoch', async () => {
  const anchors = storeAnchors(new MemoryStore(), key);
  assert.ok((await anchors.save(anchor(10, { epoch: 2 }))).ok);
  assert.ok((await anchors.save(anchor(10, { epoch: 2 }))).ok, 'the same once more');
  const backwards = [
    anchor(9, { epoch: 2 }),
    anchor(10, { epoch: 2, root: new Uint8Array(32) }),
    anchor(11, { epoch: 2, origin: 'other.example' }),
    anchor(11),
  ];
  for (const next of backwards) {
    const saved = await anchors.save(next);
    assert.ok(!saved.ok);
    assert.equal(saved.failure.code, 'Conflict');
  }
  assert.ok((await anchors.save(anchor(1, { epoch: 3 }))).ok);
  const loaded = await anchors.load();
  assert.ok(loaded.ok);
  assert.deepEqual([loaded.value?.epoch, loaded.value?.size], [3, 1]);
});

test('a save that was held up and arrives after a newer one changes nothing', async () => {
  const store = new FaultyStore(new MemoryStore());
  const anchors = storeAnchors(store, key);
  assert.ok((await anchors.save(anchor(1))).ok);
  const held = Promise.withResolvers<void>();
  const reached = Promise.withResolvers<void>();
  store.beforeCommit = () => {
    reached.resolve();
    return held.promise;
  };
  const late = anchors.save(anchor(2));
  await reached.promise;
  store.beforeCommit = undefined;
  assert.ok((await anchors.save(anchor(3))).ok);
  held.resolve();
  assert.equal((await late).ok, false);
  const loaded = await anchors.load();
  assert.ok(loaded.ok);
  assert.equal(loaded.value?.size, 3);
});

test('an anchor that is not authentic is not written over', async () => {
  const store = new MemoryStore();
  await store.commit([{ key: anchorKey, value: new Uint8Array(100) }]);
  assert.equal((await storeAnchors(store, key).save(anchor(1))).ok, false);
});
