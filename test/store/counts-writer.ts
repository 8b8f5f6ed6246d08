/**
 * Run by durable-counts.test.ts: counts as fast as it can, and writes how many it has counted to standard output, every thousand.
 * Argument: the directory.
 */
import { writeSync } from 'node:fs';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { countsIn } from '../support/counts.ts';

const store = await LmdbStore.open({
  directory: process.argv[2] as string,
  maxBytes: 2 ** 30,
  report: () => {},
});
const counts = countsIn(store);
const counted = { name: 'encrypted/acme/p/aes-256-gcm/k#v1', period: 0, most: 2 ** 31 };

for (let n = 1; ; n++) {
  if ((await counts.take(counted)) !== 'taken') process.exit(1);
  if (n % 1_000 === 0) {
    writeSync(1, `${n}\n`);
    // Writes of blocks get on with it.
    await new Promise((resolve) => setImmediate(resolve));
  }
}
