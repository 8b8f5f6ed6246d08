import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { refuse } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { authenticated } from '../../src/keys/authenticity.ts';
import type { Dek, DekVersion } from '../../src/operations/deks/dek.ts';
import { DekRewrapper, type DekRewrapperParts } from '../../src/operations/deks/dek-rewrapper.ts';
import { DekStore } from '../../src/operations/deks/dek-store.ts';
import {
  KekRotation,
  type KekRotationEvent,
  type KekRotationParts,
} from '../../src/operations/deks/kek-rotation.ts';
import type { DekChange, DekParts } from '../../src/operations/deks/parts.ts';
import { restoreDekOperation } from '../../src/operations/deks/restore-dek.ts';
import { openSnapshots } from '../../src/operations/deks/snapshots.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { testMac } from '../support/keyring.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const handleOf = (version: number) => ({
  head: { tenant: 'dek', purpose: 'dek-kek', id: 'dek/x/y/uuid' },
  version: {
    version,
    parts: [
      { component: { schemes: ['s'] }, keyReference: new Uint8Array(1), keyNumber: 1, home: 'software' },
    ],
  },
});

type Work = Parameters<DekRewrapperParts['runWork']>[1];

/** An engine whose wrappings are bytes that it does not look at; the first byte 0xff does not open. */
function outputsOf({ kind, items }: Work) {
  return items.map(({ inputs }) => {
    if (kind === 'encrypt_under') return { status: 0, outputs: [new Uint8Array(12), inputs[3]] };
    if (kind === 'decrypt_under') return { status: 0, outputs: [inputs[4]] };
    return inputs[1]?.[0] === 0xff ? { status: 1, outputs: [] } : { status: 0, outputs: [inputs[1]] };
  });
}

async function rotationOf(t: TestContext, during: () => Promise<void> = async () => {}) {
  const directory = join(temporaryDirectory(t), 'kms-deks-backup');
  const store = new MemoryStore();
  const events: KekRotationEvent[] = [];
  const state = { current: 1, destroyed: [] as number[] };
  const ahead = { utcMs: 0, monotonicMs: 0 };
  const clock = {
    utcMs: () => Date.now() + ahead.utcMs,
    monotonicMs: () => performance.now() + ahead.monotonicMs,
  };
  /** Versions of the KEK that cannot be had. */
  const gone = new Set<number>();
  const deks = new DekStore({ store, mac: testMac, onCorruptRecord: () => {} });
  const keks = {
    ...{ id: 'kek', tenant: 'dek' },
    current: async () => ({ ok: true, value: handleOf(state.current) }),
    version: async (number: number) =>
      gone.has(number) ? refuse('NotFound') : { ok: true, value: handleOf(number) },
    rotate: async () => ({ ok: true, value: ++state.current }),
    retire: async () => true,
    versions: async () => ({
      ok: true,
      value: Array.from({ length: state.current }, (_, n) => ({
        version: state.current - n,
        state: 'active',
      })),
    }),
    destroy: async (_actor: string, version: number) => void state.destroyed.push(version),
  };
  const rewrapper = new DekRewrapper({
    keks,
    costs: { meterOf: () => ({}) },
    async runWork(_tenant: string, work: Work) {
      await during();
      return { ok: true, value: outputsOf(work) };
    },
  } as unknown as DekRewrapperParts);
  const parts = {
    ...{
      deks,
      keks,
      rewrapper,
      store,
      mac: testMac,
      clock,
      keepSnapshotsMs: 1e9,
    },
    snapshots: await openSnapshots(directory),
    report: (event: KekRotationEvent) => void events.push(event),
  };
  const rotation = new KekRotation(parts as unknown as KekRotationParts);
  const recorded: unknown[] = [];
  const journal = {
    async record({ kind, facts }: DekChange) {
      recorded.push({ kind, ...facts });
      return { ok: true, value: { end: () => {} } };
    },
  };
  const restoring = restoreDekOperation({ ...parts, rotation, journal } as unknown as DekParts);
  const restore = (id: string, from?: number) =>
    restoring.run({ id, from }, { tenant: 'dek', actor: 'operator' } as Caller);
  return { rotation, deks, store, events, state, directory, gone, ahead, restore, recorded };
}

/** Of the rotation to version 2. */
const snapshotsIn = (directory: string) =>
  readdirSync(join(directory, 'kek-v2'))
    .filter((name) => name !== 'keks')
    .sort();

const dekOf = (id: string, first = 1): Dek => ({
  ...{ id, state: 'active', createdAtMs: 1 },
  versions: [{ version: 1, kek: 1, wrapped: new Uint8Array(60).fill(first), createdAtMs: 1 }],
});

test('a DEK that is destroyed while its page is rewrapped leaves no snapshot', async (t) => {
  let destroy = async () => {};
  const { rotation, deks, directory } = await rotationOf(t, () => destroy());
  for (const id of ['k1', 'k2']) await deks.put(dekOf(id), undefined);
  destroy = async () => {
    destroy = async () => {};
    const found = await deks.find('k1');
    assert.ok(found.ok && found.value !== undefined);
    await deks.put({ ...found.value.dek, state: 'destroyed', versions: [] }, found.value);
  };
  const rotated = await rotation.rotate('admin');
  assert.deepEqual(rotated.ok && [rotated.value.kekVersion, rotated.value.rewrapped], [2, 1]);
  assert.deepEqual(snapshotsIn(directory), ['k2.json']);
});

test('what a kill left of a destroyed DEK in the snapshots goes at the next start', async (t) => {
  const { rotation, deks, directory } = await rotationOf(t);
  await deks.put(dekOf('k1'), undefined);
  await rotation.rotate('admin');
  const found = await deks.find('k1');
  assert.ok(found.ok && found.value !== undefined);
  await deks.put({ ...found.value.dek, state: 'destroyed', versions: [] }, found.value);
  await rotation.resume();
  assert.deepEqual(snapshotsIn(directory), []);
});

test('a wish for a KEK that was given and is lost ends at the next start: no other takes its place', async (t) => {
  const { rotation, store, events, state } = await rotationOf(t);
  const text = JSON.stringify({ v: 1, target: 2, actor: 'admin', given: true });
  await store.commit([{ key: 'dek-rotation', value: authenticated('dek-rotation', text, testMac) }]);
  await rotation.resume();
  assert.equal(state.current, 1);
  assert.deepEqual(
    events.map(({ kind }) => kind),
    ['stopped'],
  );
  const entry = await store.get('dek-rotation');
  assert.equal(entry.ok && entry.value, undefined);
});

test('a KEK that is given does not end the rotation before it, which goes to another one', async (t) => {
  const { rotation, store } = await rotationOf(t);
  const text = JSON.stringify({ v: 1, target: 2, actor: 'admin' });
  await store.commit([{ key: 'dek-rotation', value: authenticated('dek-rotation', text, testMac) }]);
  const refused = await rotation.rotate('admin', {} as never);
  assert.equal(!refused.ok && refused.failure.code, 'Conflict');
});

test('a rotation that leaves a DEK behind is refused with counts, and keeps its KEK; the next one is complete without it', async (t) => {
  const { rotation, deks, directory, events, state } = await rotationOf(t);
  await deks.put(dekOf('good'), undefined);
  await deks.put(dekOf('bad', 0xff), undefined);
  const half = dekOf('half');
  const [first] = half.versions as [Dek['versions'][0]];
  const second = { ...first, version: 2, wrapped: new Uint8Array(60).fill(0xff) };
  await deks.put({ ...half, versions: [first, second] }, undefined);
  const rotated = await rotation.rotate('admin');
  assert.ok(!rotated.ok);
  assert.equal(rotated.failure.code, 'Conflict');
  assert.match(rotated.failure.hint ?? '', /version 2 and wraps 1 DEKs more; 2 do not open, and 0 records/);
  assert.deepEqual(snapshotsIn(directory), ['good.json', 'half.json']);
  for (const id of ['bad', 'half'])
    assert.ok(events.some((event) => event.kind === 'unopened' && event.dekId === id));
  assert.ok(events.some(({ kind }) => kind === 'incomplete'));
  assert.ok(events.every(({ kind }) => kind !== 'done'));
  assert.deepEqual(state.destroyed, []);
  for (const id of ['bad', 'half']) {
    const found = await deks.find(id);
    assert.ok(found.ok && found.value !== undefined);
    const alone = await rotation.rewrapOne(found.value, 'admin');
    assert.equal(alone?.failure.code, 'Conflict', id);
    await deks.put({ ...found.value.dek, state: 'destroyed', versions: [] }, found.value);
  }
  const again = await rotation.rotate('admin');
  assert.deepEqual(again.ok && [again.value.kekVersion, again.value.rewrapped], [3, 1]);
});

test('a DEK whose KEK is not there is left behind, and does not stop the others', async (t) => {
  const { rotation, deks, state, gone } = await rotationOf(t);
  state.current = 2;
  const good = dekOf('good');
  await deks.put({ ...good, versions: good.versions.map((each) => ({ ...each, kek: 2 })) }, undefined);
  await deks.put(dekOf('lost'), undefined);
  gone.add(1);
  const rotated = await rotation.rotate('admin');
  assert.match((!rotated.ok && rotated.failure.hint) || '', /wraps 1 DEKs more; 1 do not open/);
});

test('while a record of a DEK cannot be read no KEK is destroyed', async (t) => {
  const { rotation, deks, store, directory, state } = await rotationOf(t);
  await deks.put(dekOf('k1'), undefined);
  await store.commit([{ key: 'meta:k2', value: Buffer.from('altered') }]);
  const rotated = await rotation.rotate('admin');
  assert.match((!rotated.ok && rotated.failure.hint) || '', /0 do not open, and 1 records cannot be read/);
  for (const name of readdirSync(directory)) renameSync(join(directory, name), join(directory, 'away'));
  await rotation.prune('admin');
  assert.deepEqual(state.destroyed, []);
  await store.commit([{ key: 'meta:k2', value: undefined }]);
  await rotation.prune('admin');
  assert.deepEqual(state.destroyed, [1]);
});

test('a directory of snapshots that cannot be written stops the rotation, which goes on when it can', async (t) => {
  const { rotation, deks, directory } = await rotationOf(t);
  await deks.put(dekOf('k1'), undefined);
  renameSync(directory, `${directory}.away`);
  writeFileSync(directory, '');
  const refused = await rotation.rotate('admin');
  assert.equal(!refused.ok && refused.failure.code, 'StoreUnavailable');
  renameSync(`${directory}.away`, `${directory}.back`);
  renameSync(directory, `${directory}.file`);
  renameSync(`${directory}.back`, directory);
  const rotated = await rotation.rotate('admin');
  assert.deepEqual(rotated.ok && [rotated.value.kekVersion, rotated.value.rewrapped], [2, 1]);
});

test('a clock that goes ahead by 400 days takes no snapshot for a day, and none where it is put back', async (t) => {
  const { rotation, deks, directory, events, state, ahead } = await rotationOf(t);
  await deks.put(dekOf('k1'), undefined);
  await rotation.rotate('admin');
  const pass = async (utcMs: number, monotonicMs = utcMs) => {
    ahead.utcMs += utcMs;
    ahead.monotonicMs += monotonicMs;
    await rotation.prune('schedule');
    return readdirSync(directory).length;
  };
  const [hourMs, yearMs] = [3_600_000, 400 * 86_400_000];
  assert.equal(await pass(hourMs), 1);
  assert.equal(await pass(yearMs, hourMs), 1);
  assert.ok(events.some((event) => event.kind === 'unpruned' && /clock went ahead/.test(event.problem)));
  assert.equal(await pass(hourMs), 1);
  assert.equal(await pass(-yearMs, hourMs), 1);
  assert.equal(await pass(24 * hourMs), 1);
  // Where it stays ahead, that is the time.
  assert.equal(await pass(yearMs, hourMs), 1);
  assert.deepEqual(state.destroyed, []);
  assert.equal(await pass(25 * hourMs), 0);
  assert.deepEqual(state.destroyed, [1]);
});

test('a snapshot that was written while the clock was a year ahead has its time from now on', async (t) => {
  const { rotation, deks, directory, ahead } = await rotationOf(t);
  await deks.put(dekOf('k1'), undefined);
  await rotation.rotate('admin');
  const file = join(directory, 'kek-v2', 'keks');
  const year = Date.now() / 1_000 + 365 * 86_400;
  utimesSync(file, year, year);
  await rotation.prune('schedule');
  assert.ok(Math.abs(statSync(file).mtimeMs - Date.now()) < 3_600_000);
  for (const each of ['utcMs', 'monotonicMs'] as const) ahead[each] += 1e9 + 7_200_000;
  await rotation.prune('schedule');
  assert.deepEqual(readdirSync(directory), []);
});

test('a rotation comes to its end while callers change a DEK of each page at every moment', async (t) => {
  let n = 0;
  let change = async () => {};
  const { rotation, deks, directory } = await rotationOf(t, () => change());
  const ids = Array.from({ length: 40 }, (_, index) => `k${index}`);
  for (const id of ids) await deks.put(dekOf(id), undefined);
  change = async () => {
    const found = await deks.find(ids[n++ % ids.length] as string);
    assert.ok(found.ok && found.value !== undefined);
    await deks.put({ ...found.value.dek, threadId: `t${n}` }, found.value);
  };
  const rotated = await rotation.rotate('admin');
  assert.deepEqual(rotated.ok && [rotated.value.kekVersion, rotated.value.rewrapped], [2, 40]);
  assert.equal(snapshotsIn(directory).length, 40);
});

test('a DEK comes back from its snapshot where its record is damaged or missing, and keeps versions that came since', async (t) => {
  const { rotation, deks, store, restore, recorded } = await rotationOf(t);
  await deks.put({ ...dekOf('k1'), threadId: 'thread' }, undefined);
  await rotation.rotate('admin');
  for (const damaged of [Buffer.from('damaged'), undefined]) {
    await store.commit([{ key: 'meta:k1', value: damaged }]);
    // A change that is refused lets go of what is in memory.
    const dek = dekOf('k1');
    await deks.put(dek, { dek, revision: 999 });
    const made = await restore('k1');
    assert.deepEqual(made.ok && [made.value.version, made.value.kekVersion], [1, 2]);
    const found = await deks.find('k1');
    assert.ok(found.ok && found.value !== undefined);
    assert.equal(found.value.dek.threadId, 'thread');
  }
  assert.deepEqual(recorded[0], { kind: 'restored', dek: 'k1', from: 2 });
  const now = await deks.find('k1');
  assert.ok(now.ok && now.value !== undefined);
  const [first] = now.value.dek.versions as [DekVersion];
  const broken = { ...first, wrapped: new Uint8Array(60).fill(0xff) };
  const since = { ...first, version: 2, wrapped: new Uint8Array(60).fill(7) };
  await deks.put({ ...now.value.dek, versions: [broken, since] }, now.value);
  assert.ok((await restore('k1', 2)).ok);
  const merged = await deks.find('k1');
  assert.ok(merged.ok && merged.value !== undefined);
  assert.deepEqual(
    merged.value.dek.versions.map(({ version, kek, wrapped }) => [version, kek, wrapped[0]]),
    [
      [1, 2, 1],
      [2, 2, 7],
    ],
  );
});

test('a DEK that is destroyed, one without a snapshot, and a snapshot that does not open are refused', async (t) => {
  const { rotation, deks, store, directory, restore, recorded } = await rotationOf(t);
  for (const id of ['k1', 'k2']) await deks.put(dekOf(id), undefined);
  const refusalOf = async (id: string, from?: number) => {
    const made = await restore(id, from);
    return made.ok ? undefined : [made.failure.code, made.failure.hint];
  };
  assert.deepEqual(await refusalOf('k1'), [
    'NotFound',
    'there is no snapshot of this DEK in kms-deks-backup',
  ]);
  for (const id of ['', '..', '../kek-v2/k1', 'k1\0', 'k'.repeat(129)])
    assert.equal((await refusalOf(id))?.[0], 'BadRequest', id);
  await rotation.rotate('admin');
  assert.deepEqual(await refusalOf('k1', 7), ['NotFound', 'snapshots of this DEK: of the rotations to 2']);
  const file = join(directory, 'kek-v2', 'k1.json');
  const text = readFileSync(file, 'utf8');
  for (const wrong of [
    '',
    '{}',
    text.slice(0, -9),
    readFileSync(join(directory, 'kek-v2', 'k2.json'), 'utf8'),
  ]) {
    writeFileSync(file, wrong);
    assert.equal((await refusalOf('k1'))?.[1], 'the snapshot cannot be read', wrong);
  }
  writeFileSync(
    file,
    text.replace(/"wrapped":"[^"]+"/, `"wrapped":"${Buffer.alloc(60, 0xff).toString('base64')}"`),
  );
  assert.match((await refusalOf('k1'))?.[1] ?? '', /no version in the snapshot opens/);
  writeFileSync(file, text);
  const found = await deks.find('k1');
  assert.ok(found.ok && found.value !== undefined);
  await deks.put({ ...found.value.dek, state: 'destroyed', versions: [] }, found.value);
  assert.deepEqual(await refusalOf('k1'), ['Conflict', 'the DEK is destroyed']);
  assert.deepEqual(recorded, []);
  assert.ok((await store.get('meta:k1')).ok);
});
