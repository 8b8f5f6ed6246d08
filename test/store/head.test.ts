import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { softwareMacKey } from '../../src/core/mac-key.ts';
import { describeFailure, type StoreFailure } from '../../src/store/integrity.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { bytes, value } from '../contracts/store.ts';

const key = softwareMacKey(Buffer.alloc(32, 1));
const otherKey = softwareMacKey(Buffer.alloc(32, 2));

function makeDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-head-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function open(directory: string): Promise<LmdbStore> {
  return LmdbStore.open({ directory, maxBytes: 2 ** 30, report: (cause) => assert.fail(String(cause)) });
}

async function using<T>(directory: string, use: (store: LmdbStore) => Promise<T>): Promise<T> {
  const store = await open(directory);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

/** With a head, by several commits, one of which removes and one of which replaces. */
async function sealedStore(t: TestContext): Promise<string> {
  const directory = makeDirectory(t);
  await using(directory, async (store) => {
    value(await store.commit([{ key: 'before', value: bytes('head') }]));
    assert.deepEqual(value(await store.integrity.check(key, false)), { state: 'unsealed', records: 0 });
    assert.deepEqual(value(await store.integrity.seal(key)), { records: 1 });
    const first = ['a', 'b', 'c', 'd'].map((name) => ({ key: name, value: bytes(`first ${name}`) }));
    await Promise.all(first.map((change) => store.commit([change])));
    value(
      await store.commit([
        { key: 'a', value: bytes('second') },
        { key: 'd', value: undefined },
        { key: 'never', value: undefined },
      ]),
    );
  });
  return directory;
}

async function failureOf(directory: string, sealed = true): Promise<StoreFailure> {
  return using(directory, async (store) => {
    const checked = value(await store.integrity.check(key, sealed));
    assert.equal(checked.state, 'broken');
    return (checked as Extract<typeof checked, { state: 'broken' }>).failure;
  });
}

function copyOf(t: TestContext, directory: string): string {
  const copy = makeDirectory(t);
  cpSync(directory, copy, { recursive: true });
  return copy;
}

test('a store that only its own commits have changed is whole, after each start and after a rest', async (t) => {
  const directory = await sealedStore(t);
  for (let round = 0; round < 3; round++) {
    await using(directory, async (store) => {
      assert.deepEqual(value(await store.integrity.check(key, true)), { state: 'whole', records: 4 + round });
      value(await store.commit([{ key: `round ${round}`.replace(' ', '-'), value: bytes('x') }]));
    });
  }
});

test('a record that is removed, put there, altered, swapped or put back is found and named', async (t) => {
  const directory = await sealedStore(t);
  const changed = async (...changes: readonly { key: string; value: Uint8Array | undefined }[]) => {
    const copy = copyOf(t, directory);
    await using(copy, async (store) => value(await store.commit(changes)));
    const failure = await failureOf(copy);
    assert.equal(failure.reason, 'records_differ');
    assert.deepEqual(await failureOf(copy), failure, 'and is the same at the next start');
    return failure.differences;
  };
  assert.deepEqual(await changed({ key: 'b', value: undefined }), [{ key: 'b', what: 'removed' }]);
  assert.deepEqual(await changed({ key: 'bb', value: bytes('x') }), [{ key: 'bb', what: 'added' }]);
  assert.deepEqual(await changed({ key: 'a', value: bytes('first a') }), [{ key: 'a', what: 'replaced' }]);
  assert.deepEqual(
    await changed({ key: 'b', value: bytes('first c') }, { key: 'c', value: bytes('first b') }),
    [
      { key: 'b', what: 'replaced' },
      { key: 'c', what: 'replaced' },
    ],
  );
  assert.deepEqual(await changed({ key: 'zz', value: bytes('last') }), [{ key: 'zz', what: 'added' }]);
  // The bytes are right, and the commit that wrote them is another one.
  assert.deepEqual(await changed({ key: 'c', value: bytes('first c') }), [{ key: 'c', what: 'replaced' }]);
});

test('whoever changes the index of the records along with them is found too', async (t) => {
  const directory = await sealedStore(t);
  const { open: openLmdb } = await import('lmdb');
  const root = openLmdb({ path: directory, noSubdir: false, maxDbs: 4 });
  for (const name of ['records', 'digests'])
    await root.openDB({ name, encoding: 'binary', keyEncoding: 'binary' }).remove(Buffer.from('b'));
  await root.close();
  const failure = await failureOf(directory);
  assert.equal(failure.differing, 0);
  assert.match(describeFailure(failure), /which ones cannot be said/);
});

test('a head that is missing or of another key is no head; a store that never had one is taken once', async (t) => {
  const directory = await sealedStore(t);
  await using(directory, async (store) => {
    const other = value(await store.integrity.check(otherKey, true));
    assert.equal(other.state === 'broken' && other.failure.reason, 'head_rejected');
  });
  const unsealed = makeDirectory(t);
  await using(unsealed, async (store) => value(await store.commit([{ key: 'k', value: bytes('v') }])));
  assert.equal((await failureOf(unsealed)).reason, 'head_missing');
});

test('what was accepted is whole from then on', async (t) => {
  const directory = await sealedStore(t);
  await using(directory, async (store) => value(await store.commit([{ key: 'b', value: undefined }])));
  const { id } = await failureOf(directory);
  assert.match(id, /^[0-9a-f]{16}$/);
  await using(directory, async (store) => {
    assert.equal(value(await store.integrity.check(key, true)).state, 'broken');
    assert.deepEqual(value(await store.integrity.seal(key)), { records: 3 });
  });
  await using(directory, async (store) =>
    assert.deepEqual(value(await store.integrity.check(key, true)), { state: 'whole', records: 3 }),
  );
});

test('the head goes over to another key while commits go on', async (t) => {
  const directory = makeDirectory(t);
  await using(directory, async (store) => {
    value(await store.integrity.seal(key));
    const commit = (n: number) =>
      store.commit([
        { key: `k${String((n * 7919) % 1_500).padStart(5, '0')}`, value: bytes(`${n}`) },
        { key: `k${String((n * 104_729) % 1_500).padStart(5, '0')}x`, value: undefined },
      ]);
    for (let n = 0; n < 1_500; n += 100)
      await Promise.all(Array.from({ length: 100 }, (_, more) => commit(n + more)));
    let resealed = false;
    const resealing = store.integrity.reseal(otherKey).then((done) => {
      resealed = true;
      return done;
    });
    const second = await store.integrity.reseal(otherKey);
    assert.equal(!second.ok && second.failure.code, 'Conflict');
    let meanwhile = 0;
    for (; !resealed; meanwhile++) await commit(meanwhile);
    assert.ok(meanwhile > 2);
    value(await resealing);
    for (let n = 0; n < 20; n++) value(await commit(n * 31));
  });
  await using(directory, async (store) => {
    const under = async (which: typeof key) => value(await store.integrity.check(which, true)).state;
    assert.equal(await under(key), 'broken');
    assert.equal(await under(otherKey), 'whole');
  });
});

test('the head goes over at whatever moment of a write it begins', async (t) => {
  const directory = makeDirectory(t);
  const keys = [otherKey, key];
  const moments = 24;
  await using(directory, async (store) => {
    value(await store.integrity.seal(key));
    for (let n = 0; n < moments; n++) {
      const commits = [store.commit([{ key: `a${n}`, value: bytes(`${n}`) }])];
      for (let turn = 0; turn < n; turn++) await (turn < moments / 2 ? undefined : setImmediate());
      const resealing = store.integrity.reseal(keys[n % 2] as typeof key);
      commits.push(store.commit([{ key: 'every', value: bytes(`${n}`) }]));
      value(await resealing);
      for (const commit of commits) assert.ok(value(await commit).committed);
    }
  });
  await using(directory, async (store) =>
    assert.deepEqual(value(await store.integrity.check(key, true)), {
      ...{ state: 'whole', records: moments + 1 },
    }),
  );
});

test('a commit that was refused leaves the head as it was', async (t) => {
  const directory = await sealedStore(t);
  await using(directory, async (store) => {
    value(await store.integrity.check(key, true));
    const refused = store.commit([{ key: 'a', value: bytes('no'), expectedRevision: 1 }]);
    const taken = store.commit([{ key: 'e', value: bytes('yes') }]);
    assert.deepEqual([value(await refused).committed, value(await taken).committed], [false, true]);
  });
  await using(directory, async (store) =>
    assert.equal(value(await store.integrity.check(key, true)).state, 'whole'),
  );
});

test('whatever commits come, in groups or alone, the store is whole afterwards', async (t) => {
  const change = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'd/e', 'd/f'),
    value: fc.option(fc.uint8Array({ maxLength: 8 }), { nil: undefined }),
  });
  const commits = fc.array(
    fc.uniqueArray(change, { minLength: 1, maxLength: 4, selector: ({ key }) => key }),
    {
      maxLength: 12,
    },
  );
  const directory = makeDirectory(t);
  const store = await open(directory);
  t.after(() => store.close());
  value(await store.integrity.seal(key));
  await fc.assert(
    fc.asyncProperty(commits, async (all) => {
      await Promise.all(all.map((changes) => store.commit(changes)));
      assert.equal(value(await store.integrity.check(key, true)).state, 'whole');
    }),
    { numRuns: 30 },
  );
});
