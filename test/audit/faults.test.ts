import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { maxSlots } from '../../src/audit/service/log-client.ts';
import { refuse } from '../../src/core/result.ts';
import { appendMany, auditDirectory, event, machine, startLog, until } from './support/log.ts';
import { type MemoryFiles, systemError } from './support/memory-files.ts';

const wal = `${auditDirectory}/e1/wal/00000000000000000000.wal`;

test('a full disk refuses, loses nothing that was acknowledged, and the log goes on when there is room', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  // No reserve: the disk is to fill up under the log's hands.
  const options = { maxReserveBytes: 0, reserveSeconds: 0 };
  const { log } = await startLog(on, { options });
  files.freeBytes = 5_000;
  let [acknowledged, refused] = [0, 0];
  while (log.state === 'ready') {
    if (!log.reserve(4)) break;
    const outcomes = await Promise.all(Array.from({ length: 4 }, () => log.append(event(), 'written')));
    for (const { ok } of outcomes) {
      if (ok) acknowledged++;
      else refused++;
    }
  }
  assert.equal(log.state, 'unavailable');
  assert.match(log.reason ?? '', /full/);
  assert.ok(acknowledged > 0 && refused > 0);
  assert.equal(log.reserve(1), false);
  assert.equal(log.stats().reservedSlots, 0);

  files.freeBytes = 2 ** 30;
  await until(() => log.state === 'ready', 'the log recovers');
  const [index] = await appendMany(log, 1);
  await log.close();
  // The refused ones are on the log too: their keys were used.
  const text = files.read(wal)?.toString('latin1') ?? '';
  assert.equal(text.match(/"purpose":"sign"/g)?.length, acknowledged + refused + 1);
  assert.match(text, /"type":"disk_full"/);
  assert.ok(index !== undefined && index >= acknowledged + refused);
  const again = await startLog(on, { options });
  assert.equal(again.log.state, 'ready', again.log.reason);
  await again.log.close();
});

test('before the disk is full no key is used any more', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  const { log } = await startLog(on);
  files.freeBytes = 1_000_000_000;
  await until(() => log.state === 'unavailable', 'the log sees it');
  assert.equal(log.reserve(1), false);
  files.freeBytes = 2 ** 40;
  await until(() => log.state === 'ready', 'the log recovers');
  await log.close();
});

test('short writes are continued', async () => {
  const on = machine();
  (on.files as MemoryFiles).maxWrite = 100;
  const { log } = await startLog(on);
  await appendMany(log, 20);
  await log.close();
  (on.files as MemoryFiles).maxWrite = Number.POSITIVE_INFINITY;
  const again = await startLog(on);
  assert.equal(again.log.state, 'ready', again.log.reason);
  await again.log.close();
});

test('what a failed fdatasync left in the page cache is written anew before it counts as durable', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  const first = await startLog(on);
  await appendMany(first.log, 5);
  files.fault = (what, path) => {
    if (what === 'sync' && path.endsWith('.wal')) throw systemError('EIO');
  };
  assert.ok(first.log.reserve(1));
  assert.equal((await first.log.append(event(), 'synced')).ok, false);
  await until(() => first.log.state === 'unavailable', 'the log is unavailable');
  first.kill();
  files.fault = () => {};
  // The same boot: the page cache still has what the disk has not.
  on.files = files.afterCrash();
  const second = await startLog(on);
  assert.equal(second.log.state, 'ready', second.log.reason);
  const { size } = second.log.stats();
  second.kill();
  on.files = (on.files as MemoryFiles).afterPowerLoss();
  const third = await startLog({ ...on, bootId: '2'.repeat(32) });
  assert.equal(third.log.state, 'ready', third.log.reason);
  assert.ok(third.log.stats().size > size);
  await third.log.close();
});

test('a stalled disk fills the slots and no more, refuses, and is survived', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  const { log } = await startLog(on, { options: { maxDurableLagMs: 50 } });
  let release = () => {};
  files.syncGate = new Promise((resolve) => {
    release = resolve;
  });
  await appendMany(log, 1);
  assert.ok(log.reserve(1));
  const waiting = log.append(event(), 'synced');
  await until(() => log.state === 'unavailable', 'the lag is seen');
  assert.ok(log.durableLagMs() > 50);
  assert.equal(log.reserve(1), false);
  release();
  assert.ok((await waiting).ok);
  await until(() => log.state === 'ready', 'the log is ready again');
  await log.close();
});

test('an answer that waits too long for its record does not leave', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  const { log } = await startLog(on);
  let release = () => {};
  files.syncGate = new Promise((resolve) => {
    release = resolve;
  });
  assert.ok(log.reserve(1));
  const done = await log.append(event(), 'synced');
  assert.ok(!done.ok);
  assert.equal(log.stats().reservedSlots, 0);
  release();
  await log.close();
});

test('slots are bounded: the one too many is refused, and each is given back once', async () => {
  const on = machine();
  const { log } = await startLog(on);
  assert.ok(log.reserve(maxSlots - 1));
  assert.equal(log.reserve(2), false);
  assert.ok(log.reserve(1));
  assert.equal(log.reserve(1), false);
  log.release(maxSlots - 8);
  await Promise.all(Array.from({ length: 8 }, () => log.append(event(), 'written')));
  assert.equal(log.stats().reservedSlots, 0);
  assert.equal(log.stats().waiting, 0);
  await log.close();
});

test('an event that would break the format is refused, and its slot is free again', async () => {
  const { log } = await startLog(machine());
  const bad = [
    event({ actor: 'two\u001ffields' }),
    event({ actor: 'two\u001erecords' }),
    event({ opId: 'a\nline' }),
    event({ actor: '\ud800' }),
    event({ actor: 'x'.repeat(5_000) }),
  ];
  assert.ok(log.reserve(bad.length + 1));
  for (const each of bad) assert.equal((await log.append(each, 'written')).ok, false);
  assert.ok((await log.append(event({ actor: 'Zoë "the" \\ 鍵' }), 'written')).ok);
  assert.equal(log.stats().reservedSlots, 0);
  await log.close();
});

test('checkpoints that cannot be made leave the log unavailable, until they can', async () => {
  const on = machine();
  let storeFails = false;
  const save = async () =>
    storeFails ? refuse('StoreUnavailable') : ({ ok: true, value: undefined } as const);
  const options = { checkpointIntervalMs: 10, checkpointMinIntervalMs: 1, checkpointLateMs: 50 };
  const anchors = { load: async () => ({ ok: true, value: undefined }) as const, save };
  const { log } = await startLog(on, { options, parts: { anchors } });
  assert.equal(log.state, 'ready');
  storeFails = true;
  const { checkpointSize } = log.stats();
  await appendMany(log, 5);
  await until(() => log.state === 'unavailable', 'late checkpoints are seen');
  assert.equal(log.stats().checkpointSize, checkpointSize);
  assert.ok(log.stats().checkpointFailures > 0);
  storeFails = false;
  await until(() => log.state === 'ready', 'the log is ready again');
  await log.close();
});

test('a record that waits for witnesses is answered when they have cosigned', async () => {
  const on = machine();
  let willing = false;
  const witness: NonNullable<Parameters<typeof startLog>[1]>['parts'] = {
    witness: async ({ note }) =>
      willing ? { ok: true, value: Buffer.from(`${note}cosigned`) } : refuse('NotReady', 'not yet'),
  };
  const { log } = await startLog(on, {
    parts: witness,
    options: { checkpointIntervalMs: 5, checkpointMinIntervalMs: 1 },
  });
  assert.ok(log.reserve(1));
  let answered = false;
  const done = log.append(event(), 'witnessed').then((outcome) => {
    answered = true;
    return outcome;
  });
  await sleep(50);
  assert.equal(answered, false);
  willing = true;
  assert.ok((await done).ok);
  assert.match(log.checkpoint()?.note ?? '', /cosigned$/);
  await log.close();
});

test('after an integrity failure two approvers start a new epoch, which names the end of the old one', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  const first = await startLog(on);
  await appendMany(first.log, 10);
  await first.log.close();
  files.edit(wal, (bytes) => bytes.subarray(0, bytes.lastIndexOf('KAW1')));

  const { log } = await startLog(on);
  assert.equal(log.state, 'integrity_failed');
  assert.equal(log.reserve(1), false);
  assert.equal(log.stats().integrityFailures, 1);
  assert.equal((await log.accept({ reason: 'drill', approvers: ['ada', 'ada'] })).ok, false);
  assert.ok((await log.accept({ reason: 'a disk was replaced', approvers: ['ada', 'grace'] })).ok);
  assert.equal(log.state, 'ready');
  assert.equal(log.checkpoint()?.origin, 'kms.example/audit/1/e2');
  await appendMany(log, 3);
  await log.close();

  const text = files.read(`${auditDirectory}/e2/wal/00000000000000000000.wal`)?.toString('latin1') ?? '';
  assert.match(text, /"approvers":"ada grace".*"failure":"truncated".*"old_origin":"kms.example\/audit\/1"/);
  const again = await startLog(on);
  assert.equal(again.log.state, 'ready', again.log.reason);
  assert.equal(again.log.stats().epoch, 2);
  await again.log.close();
});

test('a witness that has seen more of the log stops it', async () => {
  const on = machine();
  const { log } = await startLog(on);
  await appendMany(log, 3);
  log.contradicted('witness.example/w1 has cosigned 70000 records');
  await until(() => log.state === 'integrity_failed', 'the log is latched');
  assert.match(log.reason ?? '', /^contradicted: witness.example/);
  assert.equal(log.reserve(1), false);
  assert.ok((await log.accept({ reason: 'drill', approvers: ['ada', 'grace'] })).ok);
  await appendMany(log, 3);
  await log.close();
});
