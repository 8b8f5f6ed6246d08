/**
 * Run by full-disk.test.ts under a limit on the size of files, which LMDB meets like a full disk. Commits until it is
 * refused, goes on a little, frees room, and writes what happened to standard output as JSON. Argument: the directory.
 */
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';

let reports = 0;
const store = await LmdbStore.open({
  directory: process.argv[2]!,
  maxBytes: 2 ** 40,
  report: () => {
    reports += 1;
  },
});
const value = Buffer.alloc(60_000, 7);
const codes = new Set<string>();

async function write(number: number): Promise<boolean> {
  const outcome = await store.commit([
    { key: `a/${number}`, value },
    { key: `b/${number}`, value: Buffer.from('b') },
  ]);
  if (!outcome.ok) codes.add(outcome.failure.code);
  return outcome.ok && outcome.value.committed;
}

const accepted: number[] = [];
for (let number = 0; number < 200; number += 2) {
  const results = await Promise.all([write(number), write(number + 1)]);
  results.forEach((isAccepted, index) => {
    if (isAccepted) accepted.push(number + index);
  });
}
const read = await store.get(`a/${accepted[0]}`);
const first = accepted.shift();
const freed = await store.commit([
  { key: `a/${first}`, value: undefined },
  { key: `b/${first}`, value: undefined },
]);
await store.close();
process.stdout.write(
  JSON.stringify({ accepted, reports, codes: [...codes], reads: read.ok, frees: freed.ok }),
);
