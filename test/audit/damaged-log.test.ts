import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemFiles } from '../../src/audit/disk/files.ts';
import { layoutOf, segmentLeaves } from '../../src/audit/disk/layout.ts';
import { parseCheckpoint } from '../../src/audit/format/checkpoint.ts';
import { parseNote } from '../../src/audit/format/note.ts';
import { tilePath, tileWidth, widthAt } from '../../src/audit/format/tiles.ts';
import { openLogReader } from '../../src/audit/reading/log-reader.ts';
import { startAuditReading } from '../../src/audit/reading/read-thread.ts';
import { verifyLog } from '../../src/audit/reading/verify.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { appendMany, auditDirectory, machine, startLog } from './support/log.ts';
import type { MemoryFiles } from './support/memory-files.ts';

const records = 3_000;
const wal = `${auditDirectory}/e1/wal/${'0'.repeat(20)}.wal`;

const damages: Record<string, (bytes: Buffer) => Buffer> = {
  'a flipped bit': (bytes) => {
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    return bytes;
  },
  'a cut': (bytes) => bytes.subarray(0, Math.floor(bytes.length / 2)),
  'a zeroed page': (bytes) => {
    const at = Math.floor(bytes.length / 2);
    return bytes.fill(0, at, Math.min(at + 4_096, bytes.length));
  },
  'zeroes all over': (bytes) => bytes.fill(0),
  'bytes at the end': (bytes) => Buffer.concat([bytes, Buffer.alloc(5_000, 7)]),
};

async function closedLog() {
  const on = machine();
  const running = await startLog(on);
  await appendMany(running.log, records, 60);
  await running.log.close();
  const files = on.files as MemoryFiles;
  const note = parseNote(openLogReader(auditDirectory, files).checkpoint()!.note);
  assert.ok(note.ok);
  const checkpoint = parseCheckpoint(note.value.text);
  assert.ok(checkpoint.ok);
  return { files, checkpoint: checkpoint.value };
}

function verified(files: MemoryFiles, checkpoint: Parameters<typeof verifyLog>[1]) {
  const run = verifyLog(openLogReader(auditDirectory, files), checkpoint);
  let step = run.next();
  while (!step.done) step = run.next();
  return step.value.findings;
}

test('a damaged write-ahead file is not verified, and every tile of it is right or not there', async () => {
  const { files, checkpoint } = await closedLog();
  const { size } = checkpoint;
  const whole = openLogReader(auditDirectory, files);
  for (const [name, damage] of Object.entries(damages)) {
    for (const indexed of [false, true]) {
      const damaged = files.afterCrash();
      // Either the reader finds the damage, or it comes after the reader has indexed the file.
      const early = openLogReader(auditDirectory, damaged);
      damaged.edit(wal, damage);
      const reader = indexed ? early : openLogReader(auditDirectory, damaged);
      reader.refresh();
      let answered = 0;
      for (let index = 0; index * tileWidth < size; index++) {
        for (const level of [-1, 0]) {
          const path = tilePath({ level, index, width: widthAt(level, index, size) });
          const bytes = reader.read(path);
          if (bytes === undefined) continue;
          assert.deepEqual(Buffer.from(bytes), Buffer.from(whole.read(path)!), `${name}: ${path}`);
          answered++;
        }
      }
      const all = 2 * Math.ceil(size / tileWidth);
      if (name === 'bytes at the end') assert.equal(answered, all, name);
      else assert.ok(answered < all, name);
      if (name === 'a flipped bit')
        assert.ok(answered >= all - 4, `only the damaged part: ${answered} of ${all}`);
    }
    const damaged = files.afterCrash();
    damaged.edit(wal, damage);
    assert.equal(verified(damaged, checkpoint).length > 0, name !== 'bytes at the end', name);
  }
  const without = files.afterCrash();
  without.remove(wal);
  assert.ok(verified(without, checkpoint).length > 0, 'a missing file');
});

test('records before and behind a damaged frame are still read, each for itself', async () => {
  const { files, checkpoint } = await closedLog();
  files.edit(wal, damages['a flipped bit']!);
  const reader = openLogReader(auditDirectory, files);
  assert.equal(reader.size, checkpoint.size);
  const read = [...reader.records()].map(({ index }) => index);
  assert.ok(read.length >= checkpoint.size - 64 && read.length < checkpoint.size, `${read.length}`);
  const there = new Set(read);
  for (let index = 0; index < reader.size; index++) {
    assert.equal(reader.entry(index) !== undefined, there.has(index), `record ${index}`);
  }
});

test('a read of a damaged part is answered by itself; the reads after it are answered as before', async (context) => {
  const directory = temporaryDirectory(context);
  const { log } = await startLog(machine(systemFiles), { directory });
  await appendMany(log, records, 60);
  await log.close();
  const audit = join(directory, 'audit');
  const file = join(audit, 'e1', 'wal', `${'0'.repeat(20)}.wal`);
  const reading = startAuditReading(() => audit);
  context.after(() => reading.close());
  const found = async (path: string) => {
    const answer = await reading.ask({ of: 'tile', path });
    assert.ok(answer.ok, path);
    return answer.value.found;
  };
  const bytes = readFileSync(file);
  assert.equal(await found('tile/1/000.p/11'), true);
  for (const damage of ['a flipped bit', 'a cut', 'zeroes all over']) {
    writeFileSync(file, damages[damage]!(Buffer.from(bytes)));
    assert.equal(await found('tile/entries/005'), false, damage);
    assert.equal(await found('checkpoint'), true, damage);
    if (damage !== 'zeroes all over') assert.equal(await found('tile/entries/000'), true, damage);
    writeFileSync(file, bytes);
    assert.equal(await found('tile/entries/005'), true, `${damage}, mended`);
  }
  rmSync(file);
  mkdirSync(file);
  assert.equal(await found('tile/entries/005'), false, 'a directory in its place');
  assert.equal(await found('checkpoint'), true);
});

test('of a damaged file of a sealed segment no entry is read that is not right, and nothing in another length', async () => {
  const on = machine();
  const running = await startLog(on);
  await appendMany(running.log, segmentLeaves + 300, 1_000);
  const files = on.files as MemoryFiles;
  const snapshot = layoutOf(`${auditDirectory}/e1`).snapshot(0);
  for (let waited = 0; files.read(snapshot) === undefined; waited++) {
    assert.ok(waited < 3_000, 'sealing takes too long');
    await sleep(10);
  }
  await running.log.close();
  const whole = openLogReader(auditDirectory, files);
  const { layout } = whole;
  const { size } = whole.checkpoint()!;
  const paths = [0, 100, 255, 256].flatMap((index) =>
    [-1, 0].map((level) => tilePath({ level, index, width: widthAt(level, index, size) })),
  );
  paths.push('tile/1/000', 'tile/2/000.p/1');
  for (const path of [layout.entries(0), layout.tile(0), layout.roots, layout.checkpoint]) {
    for (const [name, damage] of [...Object.entries(damages), ['missing', undefined] as const]) {
      const damaged = files.afterCrash();
      if (damage === undefined) damaged.remove(path);
      else damaged.edit(path, damage);
      const reader = openLogReader(auditDirectory, damaged);
      for (const tile of paths) {
        const expected = whole.read(tile)!;
        const bytes = reader.read(tile);
        assert.ok(bytes === undefined || bytes.length === expected.length, `${path}: ${name}: ${tile}`);
        if (tile.startsWith('tile/entries') && bytes !== undefined) {
          assert.deepEqual(Buffer.from(bytes), Buffer.from(expected), `${path}: ${name}: ${tile}`);
        }
      }
      assert.doesNotThrow(() => [...reader.records(65_000, 65_600)], `${path}: ${name}`);
    }
  }
});
