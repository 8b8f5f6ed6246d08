import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import { inWords, type Opens, triedBy } from '../../src/cli/root/status.ts';
import type { Bench } from '../../src/cli/root/stopped-directory.ts';
import { givenRootKey } from '../../src/custody/root-key/given.ts';
import type { ListedSource } from '../../src/custody/root-key/listed-source.ts';
import { newWitness, openRootKeyForStore } from '../../src/custody/root-key/open-for-store.ts';
import { nameOfBytes } from '../../src/custody/root-key/renew-all.ts';
import { rotationChange } from '../../src/custody/root-key/rotation/rotation-state.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';

test('a source of the next root key is told from one that does not open, while a rotation goes over and before', async () => {
  const engine = createOpensslEngine({ reseedIntervalOps: 1, keyCacheBytes: 1 });
  const bench = { engine } as unknown as Bench;
  const [now, next, other] = [randomBytes(32), randomBytes(32), randomBytes(32)];
  const store = new MemoryStore();
  await openRootKeyForStore(engine, store, givenRootKey('now', now));
  const listedAs = (secret: Uint8Array, generation: number) =>
    ({ kind: 'aws', root: nameOfBytes(engine, secret), generation }) as ListedSource;
  const tried = (secret: Uint8Array, listed: ListedSource, generation?: number): Promise<Opens> =>
    triedBy(bench, store, listed, [givenRootKey('one', secret)], generation);
  const foreign = { why: 'gives another key than the one of this store' };

  assert.equal(await tried(now, listedAs(now, 1), 1), 'now');
  assert.equal(await tried(next, listedAs(next, 2), 1), 'left');
  assert.deepEqual(await tried(next, listedAs(next, 1), 1), foreign);
  assert.deepEqual(await tried(other, listedAs(next, 2), 1), foreign);
  // Where a source is to be removed, only what opens counts.
  assert.deepEqual(await tried(next, listedAs(next, 2)), foreign);

  const root = engine.openRoot({ kind: 'lent-page', fill: (page) => page.set(next) });
  const of = { generation: 2, actor: 'test', startedAtMs: 1, before: nameOfBytes(engine, now) };
  const rotation = { ...of, root: nameOfBytes(engine, next), witness: newWitness(engine, root) };
  await store.commit([rotationChange(rotation, 0)]);
  assert.equal(await tried(now, listedAs(now, 1), 1), 'now');
  assert.equal(await tried(next, listedAs(next, 2), 1), 'next');
  assert.deepEqual(await tried(other, listedAs(other, 2), 1), foreign);
  assert.match(inWords('next'), /opens the next root key/);
  assert.equal(inWords(foreign), foreign.why);
});
