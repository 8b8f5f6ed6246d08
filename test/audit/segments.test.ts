import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { layoutOf, segmentLeaves } from '../../src/audit/disk/layout.ts';
import { WalWriter } from '../../src/audit/disk/wal.ts';
import { InputHasher } from '../../src/audit/format/input-hash.ts';
import { leafHash, verifyInclusion } from '../../src/audit/format/merkle.ts';
import { packEvent, parseRecord } from '../../src/audit/format/record.ts';
import { inclusionFromTiles, rootFromTiles } from '../../src/audit/format/tiles.ts';
import { openLogReader } from '../../src/audit/reading/log-reader.ts';
import { Appender } from '../../src/audit/writer/appender.ts';
import { ChangesUnderWay } from '../../src/audit/writer/changes-under-way.ts';
import { LogState } from '../../src/audit/writer/log-state.ts';
import { scrubLog } from '../../src/audit/writer/scrub.ts';
import { systemClock } from '../../src/core/clock.ts';
import { softwareMacKey } from '../../src/core/mac-key.ts';
import { appendMany, auditDirectory, event, machine, type RunningLog, startLog } from './support/log.ts';
import { MemoryFiles, systemError } from './support/memory-files.ts';

async function sealed(files: MemoryFiles, running: RunningLog, segments: number): Promise<void> {
  for (
    let waited = 0;
    !files.paths(`${auditDirectory}/e1/seg`).some((p) => p.endsWith(`${segments - 1}.state`));
    waited++
  ) {
    assert.ok(waited < 1_000, `sealing takes too long: ${running.log.state} ${running.log.reason}`);
    await sleep(10);
  }
}

test('a full segment is sealed; what is read, proven and replayed stays the same; damage in it is found', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  const first = await startLog(on);
  await appendMany(first.log, segmentLeaves + 700, 1_000);
  await sealed(files, first, 1);
  await first.log.close();
  assert.deepEqual(
    files.paths(`${auditDirectory}/e1/wal`).map((path) => path.slice(-24)),
    [`${String(segmentLeaves).padStart(20, '0')}.wal`],
  );

  const second = await startLog(on);
  assert.equal(second.log.state, 'ready', second.log.reason);
  assert.ok(second.log.reserve(1));
  const next = await second.log.append(event({ keyId: 'acme/k1' }), 'synced');
  assert.ok(next.ok);
  await second.log.close();

  const reader = openLogReader(auditDirectory, files);
  const checkpoint = reader.checkpoint();
  assert.ok(checkpoint !== undefined && checkpoint.size === reader.size);
  const root = rootFromTiles(reader, checkpoint.size);
  assert.ok(root.ok);
  assert.deepEqual(Buffer.from(root.value), Buffer.from(checkpoint.root));
  for (const index of [0, 1, 255, 256, 40_000, segmentLeaves - 1, segmentLeaves, checkpoint.size - 1]) {
    const entry = reader.entry(index);
    assert.ok(entry !== undefined && parseRecord(entry) !== undefined, `record ${index}`);
    const proof = inclusionFromTiles(reader, index, checkpoint.size);
    assert.ok(proof.ok);
    assert.ok(
      verifyInclusion(index, checkpoint.size, leafHash(entry), proof.value, checkpoint.root),
      `proof of ${index}`,
    );
  }
  const seqs = new Map<string, number>();
  for (const { record } of reader.records()) {
    assert.equal(record.seq, (seqs.get(record.key_id) ?? 0) + 1);
    seqs.set(record.key_id, record.seq);
  }

  const scrub = (on_: MemoryFiles) => [...scrubLog(on_, reader.layout, () => 0)].at(-1);
  assert.deepEqual(scrub(files), { chunks: 256, of: 256, damage: undefined });
  for (const [path, position] of [
    [reader.layout.entries(0), 300_000],
    [reader.layout.tile(0), 5_000],
    [reader.layout.roots, 3],
  ] as const) {
    const damaged = files.afterCrash();
    damaged.edit(path, (bytes) => {
      bytes[position]! ^= 4;
      return bytes;
    });
    assert.notEqual(scrub(damaged)?.damage, undefined, path);
    // The log's own scrub finds it while the log runs.
    const running = await startLog({ ...on, files: damaged });
    for (let waited = 0; running.log.state === 'ready'; waited++) {
      assert.ok(waited < 500, path);
      await sleep(10);
    }
    assert.equal(running.log.state, 'integrity_failed', path);
    running.kill();
  }
  for (const path of [reader.layout.entries(0), reader.layout.tile(0), reader.layout.snapshot(0)]) {
    const without = files.afterCrash();
    without.remove(path);
    const running = await startLog({ ...on, files: without });
    // Without its snapshot a segment is replayed from its entries.
    const expected = path === reader.layout.snapshot(0) ? 'ready' : 'integrity_failed';
    assert.equal(running.log.state, expected, path);
    running.kill();
  }
});

test('retention removes the entries of old segments, and nothing else', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  const seen: { path: string; recordedAt: number; covered: number }[] = [];
  const remove = files.remove.bind(files);
  files.remove = (path) => {
    const reader = openLogReader(auditDirectory, files);
    const [retention] = reader.records(0, reader.size, Buffer.from('"type":"retention"'));
    const covered = reader.checkpoint()?.size ?? 0;
    if (path.endsWith('.zst')) seen.push({ path, recordedAt: retention?.index ?? Number.NaN, covered });
    remove(path);
  };
  const running = await startLog(on, { options: { retainRecords: 1_000 } });
  await appendMany(running.log, segmentLeaves + 2_000, 1_000);
  await sealed(files, running, 1);
  const entries = () => files.paths(`${auditDirectory}/e1/seg`).filter((path) => path.endsWith('.zst'));
  for (let waited = 0; entries().length > 0; waited++) {
    assert.ok(waited < 500, 'retention takes too long');
    await sleep(10);
  }
  assert.equal(seen.length, 1);
  // Whoever verifies meanwhile sees the record of it under the checkpoint.
  assert.ok((seen[0]?.recordedAt ?? 0) < (seen[0]?.covered ?? 0), JSON.stringify(seen));
  await running.log.close();
  const again = await startLog(on);
  assert.equal(again.log.state, 'ready', again.log.reason);
  await again.log.close();
  const reader = openLogReader(auditDirectory, files);
  assert.equal(reader.minimumIndex, segmentLeaves);
  assert.equal(reader.entry(5), undefined);
  assert.ok(reader.entry(segmentLeaves) !== undefined);
  assert.equal(reader.read('tile/1/000')?.length, 8_192);
});

test('a disk that is full at the end of a segment: what follows waits for its file, in order', () => {
  const files = new MemoryFiles();
  const layout = layoutOf('/log');
  const state = new LogState();
  const wal = new WalWriter(files, layout, 0, 0);
  const hasher = new InputHasher(softwareMacKey(new Uint8Array(32)), {
    mode: 'plain',
    modeOfTenant: {},
    kid: 'k1',
  });
  const changes = new ChangesUnderWay();
  const appender = new Appender({ state, wal, hasher, clock: systemClock, changes, countWritten: () => {} });
  const packed = packEvent(event()) as string;
  for (let n = 0; n < segmentLeaves - 5; n++) appender.append(packed);
  appender.flush();
  appender.takeReceipts();
  files.freeBytes = 1_000;
  for (let n = 0; n < 10; n++) appender.append(packed);
  assert.throws(() => appender.flush(), { code: 'ENOSPC' });
  for (let n = 0; n < 10; n++) appender.append(packed);
  assert.throws(() => appender.flush(), { code: 'ENOSPC' });
  assert.equal(appender.written.size, segmentLeaves - 5);
  files.freeBytes = 2 ** 30;
  appender.flush();
  assert.deepEqual(
    appender.takeReceipts(),
    Array.from({ length: 20 }, (_, n) => [segmentLeaves - 5 + n, segmentLeaves - 4 + n]).flat(),
  );
  const reader = openLogReader('/log', files);
  assert.equal(reader.size, segmentLeaves + 15);
  assert.equal(appender.takeFullSegments().length, 1);
});

test('receipts of a frame that was written are not lost when the one after it fails', () => {
  const files = new MemoryFiles();
  const layout = layoutOf('/log');
  const hasher = new InputHasher(softwareMacKey(new Uint8Array(32)), {
    mode: 'plain',
    modeOfTenant: {},
    kid: 'k1',
  });
  const appender = new Appender({
    ...{ state: new LogState(), wal: new WalWriter(files, layout, 0, 0), hasher, clock: systemClock },
    ...{ changes: new ChangesUnderWay(), countWritten: () => {} },
  });
  const packed = packEvent(event()) as string;
  for (let n = 0; n < segmentLeaves + 3; n++) appender.append(packed);
  files.fault = (_, path) => {
    if (path === layout.walFile(segmentLeaves)) throw systemError('EMFILE');
  };
  assert.throws(() => appender.flush(), { code: 'EMFILE' });
  assert.equal(appender.takeReceipts().length, 2 * segmentLeaves);
  files.fault = () => {};
  appender.flush();
  assert.deepEqual(appender.takeReceipts().slice(0, 2), [segmentLeaves, segmentLeaves + 1]);
});
