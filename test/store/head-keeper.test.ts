import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { softwareMacKey } from '../../src/core/mac-key.ts';
import { ok } from '../../src/core/result.ts';
import { openEnvironment } from '../../src/store/lmdb/environment.ts';
import { HeadKeeper } from '../../src/store/lmdb/head-keeper.ts';
import { value } from '../contracts/store.ts';

const key = softwareMacKey(Buffer.alloc(32, 1));
const otherKey = softwareMacKey(Buffer.alloc(32, 2));

test('a write that fails and has happened all the same leaves the head as the file has it', async (t) => {
  const { environment, keeper, put } = await kept(t);
  value(await keeper.seal(key));
  await put('a', { fails: true });
  await put('b');
  await put('c', { fails: true });
  assert.deepEqual(value(await keeper.check(key, true)), { state: 'whole', records: 3 });
  // With the write of `d` the head goes over to the other key.
  value(await keeper.reseal(otherKey));
  await put('d', { fails: true });
  await put('e');
  assert.equal(environment.revision(), 7);
  assert.deepEqual(value(await keeper.check(otherKey, true)), { state: 'whole', records: 5 });
});

test('a head whose records could not be read can be sealed anew later', async (t) => {
  const { keeper, put, fail } = await kept(t);
  value(await keeper.seal(key));
  await put('a');
  fail(true);
  const refused = await keeper.reseal(otherKey);
  assert.equal(!refused.ok && refused.failure.code, 'StoreUnavailable');
  fail(false);
  await put('b');
  value(await keeper.reseal(otherKey));
  await put('c');
  assert.deepEqual(value(await keeper.check(otherKey, true)), { state: 'whole', records: 3 });
});

/** A keeper on a file, whose writes a test makes, one at a time. */
async function kept(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-keeper-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const environment = await openEnvironment({
    directory,
    maxBytes: 2 ** 30,
    report: (cause) => assert.fail(String(cause)),
  });
  t.after(() => environment.close());
  let failing = false;
  const keeper = new HeadKeeper({
    ...{ environment, isClosed: () => false, report: () => {} },
    async betweenWrites(run) {
      if (failing) throw new Error('unreadable');
      return run();
    },
    // The next write of the test is the one with which a head goes over.
    writeHead: async () => ok({ committed: true, revision: 0 }),
  });
  const put = async (name: string, { fails = false } = {}) => {
    const [before, storeKey] = [environment.revision(), Buffer.from(name)];
    const after = Buffer.alloc(9, before);
    const change = keeper.change([{ key: storeKey, before: undefined, after }], before + 1);
    assert.ok(change !== undefined);
    await environment.write({
      ...{ before, after: before + 1, growthBytes: 0, head: change.head },
      change(records, digests) {
        records.put(storeKey, after);
        for (const { key: of, digest } of change.digests) if (digest !== undefined) digests.put(of, digest);
      },
    });
    if (fails) keeper.readAgain();
    else change.done();
  };
  return { environment, keeper, put, fail: (on: boolean) => (failing = on) };
}
