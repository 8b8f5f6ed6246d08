import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { openEnvironment } from '../../src/store/lmdb/environment.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { bytes, storeContract, value } from '../contracts/store.ts';

interface Cleanup {
  after(undo: () => Promise<void>): void;
}

function makeDirectory(t: Cleanup): string {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-store-'));
  t.after(async () => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function openStore(t: Cleanup, directory: string, more: object = {}): Promise<LmdbStore> {
  const store = await LmdbStore.open({ directory, maxBytes: 2 ** 30, report: () => {}, ...more });
  t.after(() => store.close());
  return store;
}

storeContract('lmdb', async (t) => {
  // The directory goes after the store is closed: hooks run in the order of their registration.
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-store-'));
  const store = await openStore(t, directory);
  t.after(async () => rmSync(directory, { recursive: true, force: true }));
  return store;
});

test('what was committed is there after closing and opening, with its revision', async (t) => {
  const directory = makeDirectory(t);
  const first = await openStore(t, directory);
  const outcome = value(await first.commit([{ key: 'k', value: bytes('v') }]));
  assert.ok(outcome.committed);
  await first.close();
  const second = await openStore(t, directory);
  assert.deepEqual(value(await second.get('k')), { key: 'k', value: bytes('v'), revision: outcome.revision });
  const later = value(await second.commit([{ key: 'l', value: bytes('v') }]));
  assert.ok(later.committed && later.revision > outcome.revision);
  await second.close();
});

test('files and directory are for their owner only, also where they were not', async (t) => {
  const directory = join(makeDirectory(t), 'deep', 'store');
  for (let round = 0; round < 2; round += 1) {
    const store = await openStore(t, directory);
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    const files = readdirSync(directory);
    assert.deepEqual(files.toSorted(), ['data.mdb', 'lock.mdb']);
    for (const file of files) assert.equal(statSync(join(directory, file)).mode & 0o777, 0o600);
    await store.close();
    chmodSync(directory, 0o755);
    for (const file of files) chmodSync(join(directory, file), 0o644);
  }
});

test('a second store on the same directory is refused, whatever path leads there, until the first is closed', async (t) => {
  const directory = makeDirectory(t);
  const link = join(makeDirectory(t), 'link');
  symlinkSync(directory, link);
  const first = await openStore(t, directory);
  for (const path of [directory, link]) {
    await assert.rejects(openStore(t, path), /in use: process \d+ holds it/);
  }
  await first.close();
  const second = await openStore(t, link);
  await second.close();
});

test('a store that has reached its size limit refuses commits and still answers', async (t) => {
  const reports: unknown[] = [];
  const store = await openStore(t, makeDirectory(t), {
    maxBytes: 4 * 1024 * 1024,
    report: (error: unknown) => reports.push(error),
  });
  let taken = 0;
  for (; ; taken += 1) {
    const result = await store.commit([{ key: `k${taken}`, value: new Uint8Array(512 * 1024) }]);
    if (!result.ok) {
      assert.equal(result.failure.code, 'StoreUnavailable');
      break;
    }
  }
  assert.ok(taken > 4 && taken < 12);
  assert.equal(reports.length, 1);
  assert.equal(value(await store.list({ prefix: '', limit: 100 })).length, taken);
  await store.close();
});

test('a write on a state that somebody else has changed, against the lock, changes nothing', async (t) => {
  const environment = await openEnvironment({
    directory: makeDirectory(t),
    maxBytes: 2 ** 30,
    report: () => {},
  });
  const write = (before: number, text: string) =>
    environment.write({
      ...{ before, after: before + 1, growthBytes: 4096, head: undefined },
      change(records) {
        records.put(bytes('k'), Buffer.from(text));
        records.put(bytes(text), Buffer.from(text));
      },
    });
  const before = environment.revision();
  await write(before, 'ours');
  await assert.rejects(write(before, 'stale'), /another process/);
  assert.equal(environment.revision(), before + 1);
  assert.equal(environment.records.getBinary(bytes('k'))?.toString(), 'ours');
  assert.equal(environment.records.getBinary(bytes('stale')), undefined);
  await environment.close();
});

test('a directory that cannot be used is an error that is thrown', async (t) => {
  const directory = makeDirectory(t);
  mkdirSync(join(directory, 'data.mdb'));
  await assert.rejects(openStore(t, directory));
});
