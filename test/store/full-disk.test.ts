import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { value } from '../contracts/store.ts';

const writer = join(import.meta.dirname, 'full-disk-writer.ts');

test('a full disk refuses commits as a whole, spares what was accepted, and the process goes on', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-full-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  // 4,096 blocks of 512 bytes. Node ignores SIGXFSZ, so that a write fails with EFBIG.
  const command = 'ulimit -f 4096 && exec "$0" "$@"';
  const { stdout } = await promisify(execFile)('/bin/sh', [
    '-c',
    command,
    process.execPath,
    writer,
    directory,
  ]);
  const { accepted, reports, codes, reads, frees } = JSON.parse(stdout);
  assert.ok(accepted.length > 10 && accepted.length < 60, `${accepted.length} commits were accepted`);
  assert.deepEqual(codes, ['StoreUnavailable']);
  assert.ok(reports > 0 && reads && frees);

  const store = await LmdbStore.open({
    directory,
    maxBytes: 2 ** 30,
    report: (error) => assert.fail(String(error)),
  });
  for (const [prefix, length] of [
    ['a/', 60_000],
    ['b/', 1],
  ] as const) {
    const found = value(await store.list({ prefix, limit: 1_000 }));
    assert.deepEqual(
      found.map((entry) => entry.key).toSorted(),
      accepted.map((number: number) => `${prefix}${number}`).toSorted(),
    );
    assert.ok(found.every((entry) => entry.value.byteLength === length));
  }
  await store.close();
});
