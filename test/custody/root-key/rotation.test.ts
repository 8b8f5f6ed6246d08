import assert from 'node:assert/strict';
import { isAbsolute, join, resolve } from 'node:path';
import test from 'node:test';
import { keyTypes } from '../../../src/algorithms/ids.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { ok, refuse } from '../../../src/core/result.ts';
import { LiveRoot, rootName } from '../../../src/custody/root-key/live-root.ts';
import { openRootKeyForStore } from '../../../src/custody/root-key/open-for-store.ts';
import { ResealingStore } from '../../../src/custody/root-key/rotation/resealing-store.ts';
import { RootRotation } from '../../../src/custody/root-key/rotation/root-rotation.ts';
import { listedPath } from '../../../src/custody/root-key/secret-place.ts';
import type { RootKeySource } from '../../../src/custody/root-key/source.ts';
import { partName } from '../../../src/engine/key-reference.ts';
import { createOpensslEngine } from '../../../src/engine/openssl/index.ts';
import { authenticated, openAuthenticated } from '../../../src/keys/authenticity.ts';
import { versionKey } from '../../../src/keys/codec.ts';
import { MemoryStore } from '../../../src/store/memory/memory-store.ts';
import type { Store } from '../../../src/store/store.ts';
import { testEngineOptions } from '../../support/engines.ts';

const engine = createOpensslEngine(testEngineOptions);
const keys = 70;
const idOf = (n: number) => `acme/p/ed25519/00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

test('a rotation that dies before or behind any of its commits goes on at the next start, and loses nothing', async () => {
  let commits = Number.POSITIVE_INFINITY;
  for (let dies = 0; dies <= commits; dies++) {
    for (const applied of [false, true]) {
      const { store, bytes } = await storeWithKeys();
      const made = new Uint8Array(32).fill(7);
      const first = dying(store, dies, applied);
      await rotate(first.store, [bytes], made);
      if (!first.died()) commits = Math.min(commits, first.count());
      // Another process, which has both keys of the sources.
      await rotate(store, [bytes, made], made);
      await assertUnder(store, made);
    }
  }
  assert.ok(commits >= 5 && commits < 30, String(commits));
});

test('a root key is not rotated to itself, and the store stays as it is', async () => {
  const { store, bytes } = await storeWithKeys();
  const rotation = await rotationOf(store, [bytes], bytes);
  const begun = await rotation.begin('tester');
  assert.ok(!begun.ok && begun.failure.code === 'Conflict', JSON.stringify(begun));
  assert.equal(rotation.state.rotation, undefined);
  await assertUnder(store, bytes);
});

test('paths of a list begin at the data directory where they lie in it, and are whole otherwise', () => {
  assert.equal(listedPath('data', join('data', 'root.key')), 'root.key');
  assert.equal(listedPath('/var/lib/kms', '/var/lib/kms/shares'), 'shares');
  assert.equal(listedPath('data', 'elsewhere/key'), resolve('elsewhere/key'));
  assert.ok(isAbsolute(listedPath('/var/lib/kms', '/var/lib/kms2/key')));
});

function sourceOf(bytes: Uint8Array): RootKeySource {
  return {
    place: 'a test',
    isThere: () => true,
    open: async () => ({ kind: 'lent-page', fill: (page) => page.set(bytes) }),
  };
}

function rootOf(bytes: Uint8Array) {
  return engine.openRoot({ kind: 'lent-page', fill: (page) => page.set(bytes) });
}

async function storeWithKeys() {
  const store = new MemoryStore();
  const bytes = new Uint8Array(32).fill(3);
  const { root } = await openRootKeyForStore(engine, store, sourceOf(bytes));
  const { mac } = new LiveRoot(engine, root);
  for (let n = 0; n < keys; n++) {
    const key = versionKey(idOf(n), 1);
    const { sealed } = engine.generate(root, keyTypes.ed25519, 'acme', partName(`${idOf(n)}#v1`, 0));
    const rest = JSON.stringify([Buffer.from(sealed).toString('base64')]);
    await store.commit([{ key, value: authenticated(key, `{"n":${n}}`, mac, rest) }]);
  }
  return { store, bytes };
}

async function rotationOf(store: Store, sources: readonly Uint8Array[], next: Uint8Array) {
  const opened = await openRootKeyForStore(engine, store, sources.map(sourceOf));
  const root = new LiveRoot(engine, opened.root, opened.before);
  const resealing = new ResealingStore(store);
  const rotation = await RootRotation.open({
    ...{ engine, root, store: resealing, clock: systemClock, pauseMs: 0, overlapMs: 0 },
    renew: async () => rootOf(next),
    resealHead: async () => ok(undefined),
    settle: () => {},
    report(event) {
      if (event.kind === 'delayed') void rotation.close();
    },
  });
  return rotation;
}

/** Ends as the process does, where the store dies under it. */
async function rotate(store: Store, sources: readonly Uint8Array[], next: Uint8Array): Promise<void> {
  const rotation = await rotationOf(store, sources, next);
  await rotation.resume();
  if (rotation.state.rotation === undefined && rotation.state.root !== rootName(engine, rootOf(next)))
    await rotation.begin('tester');
  await rotation.ended();
}

/** Dies at this commit: behind it where `applied`, otherwise before. */
function dying(store: Store, dies: number, applied: boolean) {
  let count = 0;
  let dead = false;
  const gone = refuse('StoreUnavailable');
  const dyingStore: Store = {
    durable: true,
    get: async (key) => (dead ? gone : store.get(key)),
    list: async (range) => (dead ? gone : store.list(range)),
    async commit(changes) {
      if (dead) return gone;
      dead = count++ === dies;
      if (dead && !applied) return gone;
      const outcome = await store.commit(changes);
      return dead ? gone : outcome;
    },
    watch: (prefix, listener) => store.watch(prefix, listener),
    close: async () => {},
  };
  return { store: dyingStore, died: () => dead, count: () => count };
}

async function assertUnder(store: Store, bytes: Uint8Array): Promise<void> {
  const { root, before } = await openRootKeyForStore(engine, store, sourceOf(bytes));
  assert.equal(before, undefined);
  const { mac } = new LiveRoot(engine, root);
  for (let n = 0; n < keys; n++) {
    const key = versionKey(idOf(n), 1);
    const found = await store.get(key);
    assert.ok(found.ok && found.value !== undefined);
    const opened = openAuthenticated(key, found.value.value, mac);
    assert.ok(opened !== undefined, key);
    const [part] = JSON.parse(Buffer.from(opened.rest).toString()) as [string];
    const sealed = Buffer.from(part, 'base64');
    assert.ok(engine.reseal(root, root, 'acme', partName(`${idOf(n)}#v1`, 0), sealed) !== undefined, key);
  }
}
