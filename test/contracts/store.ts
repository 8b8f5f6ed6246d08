import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { Result } from '../../src/core/result.ts';
import type { Change, CommitOutcome, Store, StoreEntry } from '../../src/store/store.ts';

export type MakeStore = (t: { after(undo: () => Promise<void>): void }) => Promise<Store>;

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function value<T>(result: Result<T>): T {
  assert.ok(result.ok, `refused: ${result.ok ? '' : result.failure.code}`);
  return result.value;
}

async function commit(store: Store, ...changes: Change[]): Promise<number> {
  const outcome = value(await store.commit(changes));
  assert.ok(outcome.committed);
  return outcome.revision;
}

function put(key: string, text = '', expectedRevision?: number): Change {
  return { key, value: bytes(text), ...(expectedRevision === undefined ? {} : { expectedRevision }) };
}

async function keysOf(store: Store, prefix: string, more: object = {}): Promise<string[]> {
  return value(await store.list({ prefix, limit: 1000, ...more })).map((entry) => entry.key);
}

/** What every store promises; call it with a way to make an empty one. */
export function storeContract(name: string, make: MakeStore): void {
  test(`${name}: what was committed is read back, byte for byte`, async (t) => {
    const store = await make(t);
    const all = Uint8Array.from({ length: 256 }, (_, index) => index);
    const large = new Uint8Array(1024 * 1024).map((_, index) => index % 251);
    const revision = await commit(
      store,
      { key: 'all', value: all },
      { key: 'empty', value: new Uint8Array() },
      { key: 'large', value: large },
      { key: 'k'.repeat(512), value: all.subarray(1, 3) },
    );
    assert.deepEqual(value(await store.get('all')), { key: 'all', value: all, revision });
    assert.deepEqual(value(await store.get('empty'))?.value, new Uint8Array());
    assert.deepEqual(value(await store.get('large'))?.value, large);
    assert.deepEqual(value(await store.get('k'.repeat(512)))?.value, Uint8Array.of(1, 2));
    assert.equal(value(await store.get('none')), undefined);
  });

  test(`${name}: neither the caller's buffers nor what it gets are the store's own`, async (t) => {
    const store = await make(t);
    const given = bytes('abc');
    const committing = store.commit([{ key: 'k', value: given }]);
    given.fill(0);
    await committing;
    value(await store.get('k'))!.value.fill(1);
    value(await store.list({ prefix: '', limit: 1 }))[0]!.value.fill(2);
    await commit(store, put('other', 'x'));
    assert.deepEqual(value(await store.get('k'))?.value, bytes('abc'));
  });

  test(`${name}: revisions grow with every commit and a key has that of its last change`, async (t) => {
    const store = await make(t);
    const first = await commit(store, put('a'), put('b'));
    const second = await commit(store, put('b'));
    const third = await commit(store, { key: 'a', value: undefined });
    const fourth = await commit(store, put('a'));
    assert.ok(first >= 1 && first < second && second < third && third < fourth);
    assert.equal(value(await store.get('a'))?.revision, fourth);
    assert.equal(value(await store.get('b'))?.revision, second);
  });

  test(`${name}: a commit happens as a whole or not at all`, async (t) => {
    const store = await make(t);
    const revision = await commit(store, put('a', '1'));
    for (const wrong of [0, revision - 1, revision + 1].filter((number) => number >= 0)) {
      const outcome = value(await store.commit([put('b', '2'), put('a', '2', wrong), put('c', '2')]));
      assert.deepEqual(outcome, { committed: false });
    }
    assert.deepEqual(await keysOf(store, ''), ['a']);
    assert.deepEqual(value(await store.get('a')), { key: 'a', value: bytes('1'), revision });
    await commit(store, put('a', '2', revision), put('b', '2', 0), {
      key: 'c',
      value: undefined,
      expectedRevision: 0,
    });
    assert.deepEqual(
      value(await store.commit([{ key: 'a', value: undefined, expectedRevision: revision }])),
      {
        committed: false,
      },
    );
    assert.deepEqual(await keysOf(store, ''), ['a', 'b']);
  });

  test(`${name}: of concurrent commits that expect the same revision exactly one wins`, async (t) => {
    const store = await make(t);
    await commit(store, put('counter', '0'));
    for (let round = 0; round < 5; round += 1) {
      const { revision } = value(await store.get('counter'))!;
      const outcomes = await Promise.all(
        Array.from({ length: 16 }, (_, index) =>
          store.commit([put('counter', `${round}-${index}`, revision), put(`mark/${round}/${index}`)]),
        ),
      );
      const winners = outcomes.flatMap((outcome, index) => (value(outcome).committed ? [index] : []));
      assert.equal(winners.length, 1);
      assert.deepEqual(value(await store.get('counter'))?.value, bytes(`${round}-${winners[0]}`));
      assert.deepEqual(await keysOf(store, `mark/${round}/`), [`mark/${round}/${winners[0]}`]);
    }
  });

  test(`${name}: an increment that is repeated until it wins loses nothing`, async (t) => {
    const store = await make(t);
    await commit(store, put('n', '0'));
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let done = 0; done < 10; ) {
          const { value: held, revision } = value(await store.get('n'))!;
          const next = Number(new TextDecoder().decode(held)) + 1;
          if (value(await store.commit([put('n', String(next), revision)])).committed) done += 1;
        }
      }),
    );
    assert.deepEqual(value(await store.get('n'))?.value, bytes('80'));
  });

  test(`${name}: a prefix gives its own keys only, in byte order`, async (t) => {
    const store = await make(t);
    const keys = [
      'key/a',
      'key/a/1',
      'key/a/10',
      'key/a/2',
      'key/a#v1',
      'key/ab',
      'key/ab/1',
      'key/b',
      'kez',
      'A',
      '~',
    ];
    await commit(store, ...keys.map((key) => put(key)));
    const sorted = keys.toSorted();
    assert.deepEqual(await keysOf(store, ''), sorted);
    for (const prefix of ['key/a', 'key/a/', 'key/ab', 'key/a#', 'key', '~', 'z', 'key/a/10']) {
      const expected = sorted.filter((key) => key.startsWith(prefix));
      assert.deepEqual(await keysOf(store, prefix), expected, prefix);
      assert.deepEqual(await keysOf(store, prefix, { reverse: true }), expected.toReversed(), prefix);
    }
  });

  test(`${name}: lists agree with a plain model for any keys, prefixes and positions`, async (t) => {
    const store = await make(t);
    const key = fc
      .array(fc.constantFrom('a', 'b', '/', '#', '!', '~', '0'), { minLength: 1, maxLength: 4 })
      .map((characters) => characters.join(''));
    const held = fc.sample(key, { numRuns: 60, seed: 7 });
    const sorted = [...new Set(held)].toSorted();
    await commit(store, ...sorted.map((each) => put(each, each)));
    await fc.assert(
      fc.asyncProperty(
        fc.option(key, { nil: '' }),
        fc.option(key, { nil: undefined }),
        fc.integer({ min: 1, max: 20 }),
        fc.boolean(),
        async (prefix, after, limit, reverse) => {
          const ordered = reverse ? sorted.toReversed() : sorted;
          const expected = ordered
            .filter((each) => each.startsWith(prefix))
            .filter((each) => after === undefined || (reverse ? each < after : each > after))
            .slice(0, limit);
          assert.deepEqual(
            await keysOf(store, prefix, { limit, reverse, ...(after === undefined ? {} : { after }) }),
            expected,
          );
        },
      ),
    );
  });

  test(`${name}: pages one after the other give everything once`, async (t) => {
    const store = await make(t);
    const keys = Array.from({ length: 2_500 }, (_, index) => `p/${String(index).padStart(5, '0')}`);
    await commit(store, ...keys.map((key) => put(key, key)), put('q', 'x'));
    for (const reverse of [false, true]) {
      const seen: StoreEntry[] = [];
      for (;;) {
        const after = seen.at(-1)?.key;
        const page = value(
          await store.list({
            prefix: 'p/',
            limit: 1_000,
            reverse,
            ...(after === undefined ? {} : { after }),
          }),
        );
        seen.push(...page);
        if (page.length < 1_000) break;
      }
      assert.deepEqual(
        seen.map((entry) => entry.key),
        reverse ? keys.toReversed() : keys,
      );
      assert.ok(seen.every((entry) => new TextDecoder().decode(entry.value) === entry.key));
    }
  });

  test(`${name}: the largest commit is taken, and deleting it all leaves nothing`, async (t) => {
    const store = await make(t);
    const keys = Array.from({ length: 10_000 }, (_, index) => `k/${index}`);
    const revision = await commit(store, ...keys.map((key) => put(key, 'v', 0)));
    await commit(store, ...keys.map((key) => ({ key, value: undefined, expectedRevision: revision })));
    assert.deepEqual(await keysOf(store, ''), []);
  });

  test(`${name}: what breaks the bounds is a bug and changes nothing`, async (t) => {
    const store = await make(t);
    const refused = async (...changes: Change[]) => {
      await assert.rejects(async () => store.commit(changes), RangeError);
    };
    for (const key of ['', 'a b', 'a\0', 'a\n', 'ä', '\x7f', 'k'.repeat(513)]) {
      await refused(put('good'), put(key));
      await assert.rejects(async () => store.get(key), RangeError);
    }
    await refused();
    await refused(put('twice'), put('twice'));
    await refused({ key: 'big', value: new Uint8Array(1024 * 1024 + 1) });
    await refused(...Array.from({ length: 10_001 }, (_, index) => put(`k${index}`)));
    await refused(put('a', '', -1));
    await refused(put('a', '', 0.5));
    for (const limit of [0, -1, 1_001, 1.5, Number.NaN]) {
      await assert.rejects(async () => store.list({ prefix: '', limit }), RangeError);
    }
    await assert.rejects(async () => store.list({ prefix: 'ä', limit: 1 }), RangeError);
    assert.deepEqual(await keysOf(store, ''), []);
  });

  test(`${name}: a watch hears the commits under its prefix in their order, before they are answered`, async (t) => {
    const store = await make(t);
    const heard: { key: string; value: Uint8Array | undefined; revision: number }[] = [];
    const stop = store.watch('w/', (change) => heard.push(change));
    await commit(store, put('w/before'), put('x'));
    assert.equal(heard.length, 1);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.commit([put(`w/${index}`, String(index)), put('w', 'outside')]),
      ),
    );
    await store.commit([put('w/refused', '', 12345)]);
    const removal = await commit(store, { key: 'w/0', value: undefined });
    stop();
    stop();
    await commit(store, put('w/after'));
    const revisions = outcomes.map(
      (outcome) => (value(outcome) as Extract<CommitOutcome, { committed: true }>).revision,
    );
    assert.deepEqual(
      heard.slice(1, -1).map((change) => change.revision),
      revisions,
    );
    assert.deepEqual(
      revisions,
      revisions.toSorted((one, two) => one - two),
    );
    assert.deepEqual(
      heard.slice(1, -1).map((change) => change.key),
      Array.from({ length: 20 }, (_, index) => `w/${index}`),
    );
    assert.deepEqual(heard[6]?.value, bytes('5'));
    assert.deepEqual(heard.at(-1), { key: 'w/0', value: undefined, revision: removal });
  });

  test(`${name}: closing waits for commits under way, is idempotent, and refuses what comes later`, async (t) => {
    const store = await make(t);
    const underWay = Array.from({ length: 10 }, (_, index) => store.commit([put(`k${index}`)]));
    await Promise.all([store.close(), store.close()]);
    await store.close();
    for (const outcome of await Promise.all(underWay)) assert.ok(value(outcome).committed);
    const refusals = [store.get('k1'), store.list({ prefix: '', limit: 1 }), store.commit([put('k')])];
    for (const refusal of await Promise.all(refusals)) {
      assert.deepEqual(refusal, { ok: false, failure: { code: 'StoreUnavailable' } });
    }
  });
}
