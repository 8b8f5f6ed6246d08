import assert from 'node:assert/strict';
import test from 'node:test';
import { KeyRoom } from '../../src/admission/key-room.ts';
import { RecentMakers } from '../../src/admission/recent-makers.ts';

const mib = 1024 * 1024;

function keyRoom() {
  const disk = { store: 1_000 * mib, log: 1_000 * mib };
  const state = { disk, records: 0, nowMs: 1_000_000 };
  const room = new KeyRoom({
    freeBytes: () => ({ ...disk }),
    recordsTaken: () => state.records,
    clock: { monotonicMs: () => state.nowMs, utcMs: () => state.nowMs },
  });
  /** As the log sees it: so many records a second, some of which are of new keys. */
  const goOn = (seconds: number, recordsPerSecond: number, made = 0) => {
    for (let n = 0; n < seconds; n++) {
      state.nowMs += 1_000;
      state.records += recordsPerSecond;
      for (let m = 0; m < made; m++) room.made('maker');
      room.measure();
    }
  };
  return { room, state, goOn, codeFor: (tenant: string) => room.refusal(tenant)?.failure.code };
}

test('no new keys while less than 64 MiB are free, where they are stored or where the log is', () => {
  for (const where of ['store', 'log'] as const) {
    const { state, codeFor } = keyRoom();
    assert.equal(codeFor('acme'), undefined);
    state.disk[where] = 64 * mib - 1;
    assert.equal(codeFor('acme'), 'StoreUnavailable');
    state.disk[where] = 64 * mib;
    assert.equal(codeFor('acme'), undefined, 'it ends by itself');
  }
});

test('the tenant that made most in the last minute is the first to be stopped', () => {
  const { room, state, codeFor } = keyRoom();
  for (let n = 0; n < 5; n++) room.made('many');
  room.made('few');
  state.disk.store = 90 * mib;
  assert.equal(codeFor('many'), 'StoreUnavailable');
  assert.equal(codeFor('few'), undefined);
  state.nowMs += 60_000;
  assert.equal(codeFor('many'), undefined, 'a minute later nobody made most');
  state.disk.store = 60 * mib;
  assert.equal(codeFor('few'), 'StoreUnavailable');
});

test('what signing needs for an hour at its present rate is kept as well', () => {
  const { state, goOn, codeFor } = keyRoom();
  goOn(120, 100);
  // 360,000 records of 512 bytes: 176 MiB.
  state.disk.log = 230 * mib;
  assert.equal(codeFor('acme'), 'StoreUnavailable');
  state.disk.log = 250 * mib;
  assert.equal(codeFor('acme'), undefined);
  state.disk.store = 70 * mib;
  assert.equal(codeFor('acme'), undefined, 'signing takes no room from the store');
  goOn(120, 0);
  state.disk.log = 70 * mib;
  assert.equal(codeFor('acme'), undefined);
});

test('the records of new keys are no signatures', () => {
  const { state, goOn, codeFor } = keyRoom();
  goOn(120, 100, 100);
  state.disk.log = 70 * mib;
  assert.equal(codeFor('acme'), undefined);
});

test('what was made is forgotten after a minute, whoever came in between', () => {
  const makers = new RecentMakers();
  assert.equal(makers.most(0), undefined);
  for (let n = 0; n < 3; n++) makers.add('early', 1_000);
  makers.add('late', 31_000);
  assert.equal(makers.most(54_000), 'early');
  assert.equal(makers.most(61_000), 'late');
  assert.equal(makers.most(5_000), 'late', 'a clock that goes back brings nothing back');
  assert.equal(makers.most(91_000), undefined);
  makers.add('again', 10_000_000);
  assert.equal(makers.most(10_000_000), 'again');
});

test('so many tenants make keys that not all are remembered: the first 1,024 are', () => {
  const makers = new RecentMakers();
  for (let n = 0; n < 5_000; n++) makers.add(`t${n}`, 0);
  for (let n = 0; n < 10; n++) makers.add('t4999', 0);
  assert.equal(makers.most(0), 't0');
});
