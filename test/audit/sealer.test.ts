import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { systemFiles } from '../../src/audit/disk/files.ts';
import { layoutOf, segmentLeaves } from '../../src/audit/disk/layout.ts';
import { sealSegment } from '../../src/audit/disk/segments.ts';
import { WalWriter } from '../../src/audit/disk/wal.ts';
import { InputHasher } from '../../src/audit/format/input-hash.ts';
import { packEvent } from '../../src/audit/format/record.ts';
import { Appender } from '../../src/audit/writer/appender.ts';
import { ChangesUnderWay } from '../../src/audit/writer/changes-under-way.ts';
import { DiskFailures } from '../../src/audit/writer/disk-failures.ts';
import { LogState } from '../../src/audit/writer/log-state.ts';
import { sealOnThread } from '../../src/audit/writer/sealer.ts';
import { Sealing } from '../../src/audit/writer/sealing.ts';
import { systemClock } from '../../src/core/clock.ts';
import { softwareMacKey } from '../../src/core/mac-key.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { event, until } from './support/log.ts';

const packed = packEvent(event()) as string;

/** A log whose first segment is full, in a directory of its own; the same each time. */
function fullLog(context: TestContext) {
  const layout = layoutOf(join(temporaryDirectory(context), 'e1'));
  mkdirSync(layout.wal, { recursive: true });
  const state = new LogState();
  const wal = new WalWriter(systemFiles, layout, 0, 0);
  const clock = { monotonicMs: () => 0, utcMs: () => 1_700_000_000_000 };
  const hasher = new InputHasher(softwareMacKey(new Uint8Array(32)), {
    mode: 'plain',
    modeOfTenant: {},
    kid: 'k1',
  });
  const changes = new ChangesUnderWay();
  const appender = new Appender({ state, wal, hasher, clock, changes, countWritten: () => {} });
  for (let n = 0; n < segmentLeaves; n++) appender.append(packed);
  appender.flush();
  wal.close();
  const [full] = appender.takeFullSegments();
  assert.ok(full !== undefined);
  return { layout, full };
}

const snapshot = Buffer.from('what replay begins with');

for (const behind of [0, 10]) {
  test(`the sealing thread writes the files that sealing writes, with ${behind} more to seal`, async (t) => {
    const [here, there] = [fullLog(t), fullLog(t)];
    await sealSegment(systemFiles, here.layout, here.full, snapshot);
    await sealOnThread()(there.layout, there.full, snapshot, behind);
    const names = readdirSync(here.layout.segments);
    assert.equal(names.length, 4);
    assert.deepEqual(readdirSync(there.layout.segments), names);
    for (const name of names) {
      const [expected, sealed] = [here, there].map(({ layout }) => readFileSync(join(layout.segments, name)));
      assert.ok(expected !== undefined && sealed?.equals(expected), name);
    }
    assert.deepEqual(readdirSync(there.layout.wal), []);
  });
}

test('a segment that cannot be sealed is given back with the reason, and the next attempt succeeds', async (t) => {
  const { layout, full } = fullLog(t);
  const seal = sealOnThread();
  writeFileSync(layout.segments, 'a file in the place of the directory');
  await assert.rejects(seal(layout, full, snapshot, 0), /could not be sealed: EEXIST/);
  assert.equal(readdirSync(layout.wal).length, 1);
  rmSync(layout.segments);
  await seal(layout, full, snapshot, 0);
  assert.deepEqual(readdirSync(layout.wal), []);
});

test('when segments pile up and when they do not any more, another thread takes over', async (t) => {
  const seal = sealOnThread();
  for (const behind of [0, 4, 0]) {
    const { layout, full } = fullLog(t);
    await seal(layout, full, snapshot, behind);
    assert.deepEqual(readdirSync(layout.wal), [], `${behind} behind`);
  }
});

test('after a thread that has died, the next order has a new one', async (t) => {
  const { layout, full } = fullLog(t);
  const seal = sealOnThread();
  // Cannot be made a path of: the thread throws where nothing catches it.
  await assert.rejects(seal({ ...layout, directory: 1 as never }, full, snapshot, 0));
  await seal(layout, full, snapshot, 0);
  assert.deepEqual(readdirSync(layout.wal), []);
});

test('sealing that failed is tried again where no record comes, and not while the files are written anew', async (t) => {
  const { layout, full } = fullLog(t);
  const told: (string | undefined)[] = [];
  let attempts = 0;
  let halted = false;
  const sealing: Sealing = new Sealing(
    {
      ...{ files: systemFiles, layout, origin: 'kms.example/audit/1', clock: systemClock },
      options: { retainRecords: 0, retainMs: 0 },
      snapshotKey: softwareMacKey(new Uint8Array(32)),
      failures: new DiskFailures((_, cause) => told.push(cause)),
      seal: async (to, segment, snapshot) => {
        attempts++;
        if (attempts === 1) throw Object.assign(new Error('EIO'), { code: 'EIO' });
        if (attempts === 2) {
          halted = true;
          throw Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
        }
        await sealSegment(systemFiles, to, segment, snapshot);
      },
      covered: () => segmentLeaves,
      halted: () => halted,
      sealed: () => {},
      note: () => 0,
      keepFrom: async () => {},
    },
    0,
  );
  sealing.add([full]);
  sealing.run();
  await until(() => attempts === 2, 'another attempt');
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  assert.equal(attempts, 2);
  halted = false;
  sealing.run();
  await until(() => told.at(-1) === undefined && attempts === 3, 'sealed');
  await sealing.quiet();
  assert.deepEqual(told, ['EIO', 'EMFILE', undefined]);
  assert.deepEqual(readdirSync(layout.wal), []);
});
