/**
 * Run by crash.test.ts: commits groups of records as fast as it can and writes the number of each group that the store
 * has acknowledged to standard output. Argument: the directory.
 */
import { writeSync } from 'node:fs';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { maxRecords, recordsOf, sizeOf } from './crash-records.ts';

const store = await LmdbStore.open({ directory: process.argv[2]!, maxBytes: 2 ** 32, report: () => {} });
// Without a word to the store, whose write goes on meanwhile.
process.on('SIGTERM', () => process.exit(0));

const last = await store.get('last');
let group = last.ok && last.value !== undefined ? Number(Buffer.from(last.value.value)) + 1 : 0;

async function write(number: number): Promise<void> {
  const made = recordsOf(number).map((key) => ({ key, value: Buffer.alloc(sizeOf(number), number % 256) }));
  // What the group of long ago wrote goes, so that pages are freed and used again.
  const removed =
    number < maxRecords ? [] : recordsOf(number - maxRecords).map((key) => ({ key, value: undefined }));
  const outcome = await store.commit([
    ...made,
    ...removed,
    { key: 'last', value: Buffer.from(String(number)) },
  ]);
  if (!outcome.ok || !outcome.value.committed) process.exit(1);
  writeSync(1, `${number}\n`);
}

for (;;) {
  // Some alone, some several at a time, so that single and joined writes are both interrupted.
  const together = (group % 3) + 1;
  await Promise.all(Array.from({ length: together }, (_, index) => write(group + index)));
  group += together;
}
