import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import type { Anchor } from '../../src/audit/disk/anchor.ts';
import { systemFiles } from '../../src/audit/disk/files.ts';
import { segmentLeaves } from '../../src/audit/disk/layout.ts';
import { LiveLog, type SourceFile } from '../../src/backup/log-part.ts';
import { appendMany, machine, startLog, until } from '../audit/support/log.ts';
import { temporaryDirectory } from '../support/service.ts';

const placesOf = (directory: string) => ({
  auditDir: join(directory, 'audit'),
  headPath: join(directory, 'audit.head'),
});

const sealedFile = (directory: string) => join(directory, 'audit', 'e1', 'seg', '000000000000.state');
const firstWal = (directory: string) => join(directory, 'audit', 'e1', 'wal', '00000000000000000000.wal');

/** What the files of a backup are, put where a restore would put them. */
function putDown(files: readonly SourceFile[]): string {
  const directory = temporaryDirectory();
  for (const file of files) {
    const path = join(directory, file.name.replace(/^data\//, ''));
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(path, 'content' in file ? file.content : readFileSync(file.path).subarray(0, file.bytes));
  }
  return directory;
}

/** The log of a backup, with the store's memory of its moment, on another machine; the number of its records. */
async function recoveredSize(files: readonly SourceFile[], anchor: Anchor): Promise<number> {
  const on = { ...machine(systemFiles), anchor, bootId: '2'.repeat(32) };
  const restored = await startLog(on, { directory: putDown(files) });
  assert.equal(restored.log.state, 'ready', restored.log.reason);
  const { size } = restored.log.stats();
  await restored.log.close();
  return size;
}

test('a log that is written, and whose segments are sealed meanwhile, is read whole for the moment of the store', {
  timeout: 120_000,
}, async () => {
  const directory = temporaryDirectory();
  const on = machine(systemFiles);
  const { log } = await startLog(on, { directory });
  await appendMany(log, segmentLeaves - 2_000, 512);
  await until(() => log.stats().checkpointSize > segmentLeaves - 4_000, 'a checkpoint');

  // Opened, then the moment of the store, then a segment is sealed and its write-ahead file is gone.
  const early = new LiveLog(placesOf(directory));
  const anchorBefore = on.anchor as Anchor;
  const sizeBefore = log.stats().size;
  await appendMany(log, 4_000, 512);
  await until(
    () => existsSync(sealedFile(directory)) && !existsSync(firstWal(directory)),
    'a sealed segment',
  );
  const checkpoint = await early.checkpointBehind(10_000);
  assert.ok(checkpoint !== undefined && checkpoint.size >= sizeBefore);
  const files = early.files(anchorBefore.size);
  assert.ok(files !== undefined);
  assert.ok(!files.some(({ name }) => name.endsWith('.state')), 'the anchor knows of no sealed segment yet');
  early.close();
  assert.ok((await recoveredSize([early.head, ...files], anchorBefore)) > sizeBefore);

  // After it, with its files.
  const late = new LiveLog(placesOf(directory));
  const anchorAfter = on.anchor as Anchor;
  assert.equal(late.files(anchorBefore.size), undefined, 'what that moment needs is gone: begin anew');
  const sealed = late.files(anchorAfter.size);
  assert.ok(sealed !== undefined);
  const names = sealed.map(({ name }) => name.slice('audit/e1/'.length));
  for (const name of ['seg/roots', 'seg/000000000000.state', 'seg/000000000000.ents.zst', 'checkpoint'])
    assert.ok(names.includes(name), name);
  late.close();
  assert.ok((await recoveredSize([late.head, ...sealed], anchorAfter)) > segmentLeaves);
  await log.close();
});
