import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import type { StoreEntry } from '../../src/store/store.ts';
import { value } from '../contracts/store.ts';
import { maxRecords, recordsOf, sizeOf } from './crash-records.ts';

const rounds = 5;
const writer = join(import.meta.dirname, 'crash-writer.ts');

/** SIGTERM: the writer calls process.exit at once, as a stop does that leaves a write behind. */
type End = 'SIGKILL' | 'SIGTERM';

/** Lets the writer acknowledge this many groups more, ends it, and gives the last number that it had written out. */
async function writeAndEnd(directory: string, acknowledgements: number, end: End): Promise<number> {
  const child = spawn(process.execPath, [writer, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
    if (output.split('\n').length > acknowledgements) child.kill(end);
  });
  const [code, signal] = await once(child, 'close');
  assert.deepEqual([code, signal], end === 'SIGKILL' ? [null, end] : [0, null]);
  const whole = output.slice(0, output.lastIndexOf('\n')).split('\n').map(Number);
  return Math.max(...whole);
}

async function everything(store: LmdbStore): Promise<Map<string, StoreEntry>> {
  const entries = value(await store.list({ prefix: 'group/', limit: 1_000 }));
  assert.ok(entries.length < 1_000);
  return new Map(entries.map((entry) => [entry.key, entry]));
}

const ends = { SIGKILL: 'kill -9', SIGTERM: 'an exit with a write under way' } as const;

for (const [end, name] of Object.entries(ends) as [End, string][]) {
  test(`after ${name} every acknowledged commit is there and none is there by half`, async (t) => {
    await assertNothingLost(t, end);
  });
}

async function assertNothingLost(t: test.TestContext, end: End): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-crash-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  for (let round = 0; round < rounds; round += 1) {
    const acknowledged = await writeAndEnd(directory, 40 + round * 37, end);
    // The lock of the killed process is gone with it.
    const store = await LmdbStore.open({
      directory,
      maxBytes: 2 ** 32,
      report: (error) => assert.fail(String(error)),
    });
    const last = Number(Buffer.from(value(await store.get('last'))!.value));
    assert.ok(last >= acknowledged, `group ${acknowledged} was acknowledged, ${last} is the last one`);
    const found = await everything(store);
    const first = Math.max(0, last - maxRecords + 1);
    let expected = 0;
    for (let group = first; group <= last; group += 1) {
      const revisions = new Set<number>();
      for (const key of recordsOf(group)) {
        const entry = found.get(key);
        assert.deepEqual(entry?.value, new Uint8Array(sizeOf(group)).fill(group % 256), key);
        assert.deepEqual(value(await store.get(key)), entry, 'what is listed is found');
        revisions.add(entry!.revision);
        expected += 1;
      }
      assert.equal(revisions.size, 1, `group ${group} was one commit`);
    }
    assert.equal(found.size, expected, 'nothing else is there');
    await store.close();
  }
}
