import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { Counted } from '../../src/store/durable-counts.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store, StoreEntry } from '../../src/store/store.ts';
import { value } from '../contracts/store.ts';
import { countsIn } from '../support/counts.ts';
import { FaultyStore } from '../support/faulty-store.ts';

type MakeStore = (t: { after(undo: () => Promise<void> | void): void }) => Promise<Store>;

const stores: Readonly<Record<string, MakeStore>> = {
  memory: async () => new MemoryStore(),
  lmdb: async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'intaglio-counts-'));
    const store = await LmdbStore.open({ directory, maxBytes: 2 ** 30, report: () => {} });
    t.after(async () => {
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    });
    return store;
  },
};

const bound: Counted = { name: 'encrypted/acme/p/aes-256-gcm/k#v1', period: 0, most: 2 ** 31 };
const block = 4_096;
const ofDay = (period: number, most: number): Counted => ({ name: 'day/acme/p/ed25519/k', period, most });

for (const [name, make] of Object.entries(stores)) {
  suite(`counts in a store: ${name}`, () => {
    test('never more than the limit, also by many at once and over restarts', async (t) => {
      const store = await make(t);
      let taken = 0;
      for (let restart = 0; restart < 4; restart++) {
        const counts = countsIn(store);
        const outcomes = await Promise.all(Array.from({ length: 16 }, () => counts.take(ofDay(7, 40))));
        taken += outcomes.filter((outcome) => outcome === 'taken').length;
        await counts.close();
      }
      assert.equal(taken, 40, 'and all of it, as nothing was killed');
      assert.equal(await countsIn(store).take(ofDay(7, 40)), 'full');
      assert.equal(await countsIn(store).take(ofDay(8, 40)), 'taken', 'the next day begins anew');
    });

    test('a count with a smaller block loses no more than that with each killed process, and nothing over the limit', async (t) => {
      const store = await make(t);
      const counted = { ...ofDay(7, 10_000), maxBlock: 100 };
      let taken = 0;
      let kills = 0;
      for (; kills < 200; kills++) {
        const killed = countsIn(store);
        const outcomes = await Promise.all(Array.from({ length: 160 }, () => killed.take(counted)));
        const now = outcomes.filter((outcome) => outcome === 'taken').length;
        taken += now;
        // What is on its way is written, or not; nobody gives anything back.
        await new Promise((resolve) => setImmediate(resolve));
        if (now < 160) break;
      }
      assert.ok(taken <= 10_000, String(taken));
      assert.ok(taken + (kills + 1) * 100 >= 10_000, `${taken} after ${kills} kills`);
    });

    test('what a killed process had not used of its block is lost, and no more than one block', async (t) => {
      const store = await make(t);
      const killed = countsIn(store);
      for (let n = 0; n < 10_000; n++) assert.equal(await killed.take(bound), 'taken');
      const next = countsIn(store);
      assert.equal(await next.take(bound), 'taken');
      const known = next.known(bound.name) as number;
      assert.ok(known > 10_000 && known <= 10_001 + block, String(known));
    });

    test('several processes over one store together take the limit and no more', async (t) => {
      const store = await make(t);
      const nodes = [countsIn(store), countsIn(store), countsIn(store)];
      const outcomes = await Promise.all(
        Array.from({ length: 600 }, async (_, n) => nodes[n % 3]!.take(ofDay(7, 500))),
      );
      for (const node of nodes) {
        for (let outcome = 'taken'; outcome === 'taken'; outcomes.push(outcome as 'taken'))
          outcome = (await node.take(ofDay(7, 500))) as string;
      }
      assert.equal(outcomes.filter((outcome) => outcome === 'taken').length, 500);
    });
  });
}

test('most counts cost no write, and the next block is taken out before the last one ends', async () => {
  const store = new FaultyStore(new MemoryStore());
  const counts = countsIn(store);
  assert.equal(await counts.take(bound), 'taken');
  let waited = 0;
  for (let n = 0; n < 100_000; n++) {
    const taken = counts.take(bound);
    if (taken instanceof Promise) waited++;
    assert.equal(await taken, 'taken');
  }
  assert.equal(waited, 0);
  assert.ok(store.calls.commit < 60, `${store.calls.commit} writes`);
});

test('a store that fails: the block goes on, then nothing is counted, and nothing is guessed', async () => {
  const store = new FaultyStore(new MemoryStore());
  const counts = countsIn(store);
  assert.equal(await counts.take(ofDay(7, 320)), 'taken');
  for (const failing of [['commit'], ['commit-after'], ['get', 'commit-after']] as const) {
    for (const call of failing) store.failing.add(call);
    let taken = 0;
    let refused: unknown;
    while (refused === undefined && taken < 100) {
      const outcome = await counts.take(ofDay(7, 320));
      if (outcome === 'taken') taken++;
      else refused = outcome;
    }
    assert.ok(taken <= 20, `${taken} of a block of 10, and one that is on its way`);
    assert.equal((refused as { failure: { code: string } }).failure.code, 'StoreUnavailable');
    store.failing.clear();
    assert.equal(await counts.take(ofDay(7, 320)), 'taken', 'again, once the store is back');
  }
});

test('a limit that is smaller than the count refuses, and a larger one goes on', async () => {
  const counts = countsIn(new MemoryStore());
  for (let n = 0; n < 5; n++) assert.equal(await counts.take(ofDay(7, 100)), 'taken');
  assert.equal(await counts.take(ofDay(7, 5)), 'full');
  assert.equal(await counts.take(ofDay(7, 6)), 'taken');
  assert.equal(await counts.take(ofDay(7, 6)), 'full');
  assert.equal(await counts.take(ofDay(7, 100)), 'taken');
});

test('what is given back can be taken again in its period, and in no other', async () => {
  const counts = countsIn(new MemoryStore());
  const take = async (period: number) => counts.take(ofDay(period, 1));
  assert.equal(await take(7), 'taken');
  counts.giveBack(ofDay(7, 1));
  assert.equal(await take(7), 'taken');
  assert.equal(await take(8), 'taken');
  counts.giveBack(ofDay(7, 1));
  assert.equal(await take(8), 'full');
});

test('a clock that goes back gives no uses again, and one that was years ahead takes none away', async () => {
  const counts = countsIn(new MemoryStore());
  const take = async (period: number) => counts.take(ofDay(period, 2));
  assert.equal(await take(8), 'taken');
  assert.equal(await take(7), 'taken', 'in the later one');
  assert.equal(await take(7), 'full');
  assert.equal(await take(8), 'full');
  assert.equal(await take(5_000), 'taken');
  assert.equal(await take(9), 'taken', 'of two: the one was counted in the wrong day');
  assert.equal(await take(9), 'full');
  assert.equal(await take(10), 'taken');
});

test('a record that was written by somebody else is refused and told', async () => {
  const store = new MemoryStore();
  const seen: string[] = [];
  const first = countsIn(store);
  await first.take(ofDay(7, 2));
  await first.close();
  const [entry] = value(await store.list({ prefix: 'count/', limit: 10 }));
  const { key } = entry as StoreEntry;
  await store.commit([{ key, value: Buffer.from('{"v":1,"period":7,"total":0}') }]);
  const outcome = await countsIn(store, (corrupt) => seen.push(corrupt)).take(ofDay(7, 2));
  assert.equal((outcome as { failure: { code: string } }).failure.code, 'Internal');
  assert.deepEqual(seen, [key]);
});

/** What can happen to a count; kills are at any moment, and restarts orderly. */
const events = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant('take'), count: fc.integer({ min: 1, max: 7 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('burst'), count: fc.integer({ min: 2, max: 40 }) }),
    },
    fc.record({
      kind: fc.constantFrom('kill', 'restart', 'fail', 'heal', 'midnight'),
      count: fc.constant(0),
    }),
  ),
  { maxLength: 60 },
);

test('whatever happens, the count is never less than what was used, and never more than the limit (G-15)', async () => {
  await fc.assert(
    fc.asyncProperty(events, fc.integer({ min: 1, max: 400 }), async (happening, most) => {
      const store = new FaultyStore(new MemoryStore());
      let counts = countsIn(store);
      let day = 1;
      let used = 0;
      let everUsed = 0;
      const take = async (count: number) => {
        const [ofToday, ofAll] = await Promise.all([
          counts.take(ofDay(day, most), count),
          counts.take(bound, count),
        ]);
        if (ofToday === 'taken') used += count;
        if (ofAll === 'taken') everUsed += count;
      };
      for (const { kind, count } of happening) {
        if (kind === 'take') await take(count);
        else if (kind === 'burst') await Promise.all(Array.from({ length: count }, () => take(1)));
        else if (kind === 'kill') counts = countsIn(store);
        else if (kind === 'restart') {
          await counts.close();
          counts = countsIn(store);
        } else if (kind === 'fail') store.failing.add(count % 2 === 0 ? 'commit' : 'commit-after');
        else if (kind === 'heal') store.failing.clear();
        else {
          day++;
          used = 0;
        }
        assert.ok(used <= most, `${used} of ${most}`);
      }
      store.failing.clear();
      counts = countsIn(store);
      if ((await counts.take(bound)) === 'taken') everUsed++;
      assert.ok((counts.known(bound.name) as number) >= everUsed);
    }),
    { numRuns: Number(process.env.DRILL_COUNTS ?? 150) },
  );
});

test('kill -9 of a process that counts: what it said it had counted is counted', {
  timeout: 120_000,
}, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-counts-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const writer = join(import.meta.dirname, 'counts-writer.ts');
  const rounds = Number(process.env.DRILL_KILLS ?? 3);
  let said = 0;
  for (let round = 1; round <= rounds; round++) {
    const child = spawn(process.execPath, [writer, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.split('\n').length > 3 + (round % 5)) child.kill('SIGKILL');
    });
    const [, signal] = await once(child, 'close');
    assert.equal(signal, 'SIGKILL');
    said += Math.max(...output.slice(0, output.lastIndexOf('\n')).split('\n').map(Number));
    const store = await LmdbStore.open({ directory, maxBytes: 2 ** 30, report: () => {} });
    const counts = countsIn(store);
    assert.equal(await counts.take(bound), 'taken');
    said++;
    const known = counts.known(bound.name) as number;
    assert.ok(known >= said, `${said} were used, ${known} are counted`);
    // A block for each kill, and what the writer counted and did not come to say.
    assert.ok(known <= said + round * (block + 2_000), `${known} of ${said}`);
    await counts.close();
    await store.close();
  }
});
