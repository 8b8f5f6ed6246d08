import assert from 'node:assert/strict';
import test from 'node:test';
import { frameHeaderBytes, readFrame } from '../../src/audit/disk/frames.ts';
import { ok } from '../../src/core/result.ts';
import { createRandom } from '../faults/random.ts';
import {
  appendMany,
  auditDirectory,
  event,
  headPath,
  type Machine,
  machine,
  startLog,
  until,
} from './support/log.ts';
import { type MemoryFiles, systemError } from './support/memory-files.ts';

const wal = `${auditDirectory}/e1/wal/00000000000000000000.wal`;

/** A machine with a log of some records: stopped in order, or killed. */
async function withRecords(
  count: number,
  end: 'close' | 'kill',
): Promise<{ on: Machine; files: MemoryFiles }> {
  const on = machine();
  const running = await startLog(on);
  await appendMany(running.log, count, 4);
  if (end === 'close') await running.log.close();
  else running.kill();
  return { on, files: on.files as MemoryFiles };
}

async function stateAfterStart(on: Machine): Promise<{ state: string; reason: string; size: number }> {
  const running = await startLog(on);
  const { state, reason = '' } = running.log;
  const { size } = running.log.stats();
  if (state === 'integrity_failed') running.kill();
  else await running.log.close();
  return { state, reason, size };
}

test('a log goes on after an orderly stop and after kill -9, with sequence numbers that go on', async () => {
  const on = machine();
  let seq = 0;
  for (let round = 0; round < 6; round++) {
    const { log, kill } = await startLog(on);
    assert.equal(log.state, 'ready', log.reason);
    for (let n = 0; n < 10; n++) {
      assert.ok(log.reserve(1));
      const done = await log.append(event(), n === 3 ? 'synced' : 'written');
      assert.ok(done.ok);
      assert.equal(done.value.seq, ++seq);
    }
    assert.equal(log.stats().reservedSlots, 0);
    if (round % 2 === 0) await log.close();
    else kill();
  }
});

test('a log cut at any byte by a crash of the machine recovers to its last whole frame', async () => {
  const { on, files } = await withRecords(40, 'kill');
  const whole = files.read(wal) as Buffer;
  const durable = files.afterPowerLoss().read(wal)?.length ?? 0;
  const random = createRandom(7);
  for (let round = 0; round < 25; round++) {
    const cut = durable + random.below(whole.length - durable + 1);
    const after = files.afterCrash();
    after.edit(wal, (bytes) => bytes.subarray(0, cut));
    const { state, reason } = await stateAfterStart({ ...on, files: after, bootId: '2'.repeat(32) });
    assert.equal(state, 'ready', `cut at ${cut} of ${whole.length}, durable ${durable}: ${reason}`);
  }
});

test('a tail that is cut while the machine ran on is not taken for a torn one', async () => {
  const { on, files } = await withRecords(40, 'kill');
  const { length } = files.read(wal) as Buffer;
  for (const missing of [1, 300, 2_000]) {
    const after = files.afterCrash();
    after.edit(wal, (bytes) => bytes.subarray(0, length - missing));
    const { state, reason } = await stateAfterStart({ ...on, files: after });
    assert.equal(state, 'integrity_failed');
    assert.match(reason, /^truncated/);
  }
});

test('bytes of an unfinished write are put aside, named in a record, and gone from the log', async () => {
  const { on, files } = await withRecords(10, 'kill');
  files.edit(wal, (bytes) => Buffer.concat([bytes, Buffer.from('KAW1 half a frame')]));
  const { state } = await stateAfterStart(on);
  assert.equal(state, 'ready');
  const quarantined = files.paths(`${auditDirectory}/e1/quarantine/`);
  assert.equal(quarantined.length, 1);
  assert.equal(files.read(quarantined[0] as string)?.toString(), 'KAW1 half a frame');
  assert.match(files.read(wal)?.toString('latin1') ?? '', /"torn_bytes":17/);
});

test('every flipped bit is detected', async (context) => {
  // In the drill every bit of the file against the frame that it lies in, and a start for each frame; here a sample.
  const all = process.env.DRILL_BITS === 'all';
  const random = createRandom(Number(process.env.DRILL_SEED ?? 11));
  for (const end of ['close', 'kill'] as const) {
    const { on, files } = await withRecords(all ? 2_000 : 200, end);
    const bytes = files.read(wal) as Buffer;
    const starts = frameStarts(bytes);
    for (const [position, start] of starts.entries()) {
      const frame = Buffer.from(bytes.subarray(start, starts[position + 1] ?? bytes.length));
      const step = all ? 1 : 1 + random.below(frame.length * 4);
      for (let bit = 0; bit < frame.length * 8; bit += step) {
        frame[bit >> 3]! ^= 1 << (bit & 7);
        assert.equal(readFrame(frame, 0), undefined, `bit ${bit} of the frame at ${start}`);
        frame[bit >> 3]! ^= 1 << (bit & 7);
      }
      if (!all && random.below(2) === 0) continue;
      const bit = random.below(frame.length * 8);
      const after = files.afterCrash();
      after.edit(wal, (edited) => {
        edited[start + (bit >> 3)]! ^= 1 << (bit & 7);
        return edited;
      });
      const { state } = await stateAfterStart({ ...on, files: after });
      assert.equal(state, 'integrity_failed', `bit ${bit} of the frame at ${start}`);
    }
    context.diagnostic(`${starts.length} frames, ${bytes.length * 8} bits`);
  }
});

function frameStarts(bytes: Buffer): number[] {
  const starts: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    starts.push(at);
    const frame = readFrame(bytes, at);
    assert.ok(frame !== undefined);
    at += frameHeaderBytes + frame.bodyLength;
  }
  return starts;
}

test('what was removed or put back is detected: frames, files, HEAD, anchor, checkpoint', async () => {
  const on = machine();
  let running = await startLog(on);
  await appendMany(running.log, 20);
  await running.log.close();
  const files = on.files as MemoryFiles;
  const [oldDirectory, oldHead, oldAnchor] = [files.copy(auditDirectory), files.copy(headPath), on.anchor];
  running = await startLog(on);
  await appendMany(running.log, 20);
  await running.log.close();

  const cases: [string, RegExp, (files: MemoryFiles, on: Machine) => void][] = [
    [
      'the last frame',
      /truncated/,
      (f) => f.edit(wal, (bytes) => bytes.subarray(0, bytes.lastIndexOf('KAW1'))),
    ],
    [
      'a frame in the middle',
      /frame_out_of_order/,
      (f) =>
        f.edit(wal, (bytes) => {
          const from = bytes.indexOf('KAW1', bytes.indexOf('KAW1', 1) + 1);
          return Buffer.concat([bytes.subarray(0, from), bytes.subarray(bytes.indexOf('KAW1', from + 1))]);
        }),
    ],
    ['the file', /truncated/, (f) => f.remove(wal)],
    ['the audit directory', /truncated/, (f) => f.restore(auditDirectory, new Map())],
    ['HEAD', /head_missing/, (f) => f.remove(headPath)],
    ['HEAD and the audit directory', /head_missing/, (f) => f.restore('/data', new Map())],
    [
      'the anchor',
      /anchor_missing/,
      (_, m) => {
        m.anchor = undefined;
      },
    ],
    ['an older audit directory', /truncated/, (f) => f.restore(auditDirectory, oldDirectory)],
    ['an older HEAD', /bytes_after_clean_end/, (f) => f.restore(headPath, oldHead)],
    [
      'an older key store',
      /anchor_behind/,
      (_, m) => {
        m.anchor = oldAnchor;
      },
    ],
    [
      'an older audit directory and key store',
      /anchor_behind|truncated/,
      (f, m) => {
        f.restore(auditDirectory, oldDirectory);
        m.anchor = oldAnchor;
      },
    ],
    [
      'an older audit directory and HEAD',
      /truncated/,
      (f) => {
        f.restore(auditDirectory, oldDirectory);
        f.restore(headPath, oldHead);
      },
    ],
    [
      'a damaged checkpoint',
      /checkpoint_invalid/,
      (f) =>
        f.edit(`${auditDirectory}/e1/checkpoint`, (bytes) => {
          bytes[60]! ^= 1;
          return bytes;
        }),
    ],
    [
      'a damaged checkpoint, and a key store that is new',
      /anchor_missing/,
      (f, m) => {
        m.anchor = undefined;
        f.edit(`${auditDirectory}/e1/checkpoint`, (bytes) => {
          bytes[60]! ^= 1;
          return bytes;
        });
      },
    ],
    [
      'a bit in the middle of the file, after a clean end',
      /frame_damaged/,
      (f) =>
        f.edit(wal, (bytes) => {
          bytes[Math.floor(bytes.length / 2)]! ^= 1;
          return bytes;
        }),
    ],
    [
      'half of the file, after a clean end',
      /frame_damaged|truncated/,
      (f) => f.edit(wal, (bytes) => bytes.subarray(0, Math.floor(bytes.length / 2))),
    ],
    ['a damaged HEAD', /head_damaged/, (f) => f.edit(headPath, (bytes) => bytes.fill(0))],
    [
      'bytes after a clean end',
      /bytes_after_clean_end/,
      (f) => f.edit(wal, (bytes) => Buffer.concat([bytes, Buffer.from('x')])),
    ],
  ];
  for (const [name, expected, change] of cases) {
    const changed = { ...on, files: files.afterCrash() };
    change(changed.files, changed);
    const { state, reason } = await stateAfterStart(changed);
    assert.equal(state, 'integrity_failed', name);
    assert.match(reason, expected, name);
  }

  // Everything at once, from one snapshot: nothing on this machine can know. A witness does.
  const everything = { ...on, files: files.afterCrash(), anchor: oldAnchor };
  everything.files.restore(auditDirectory, oldDirectory);
  everything.files.restore(headPath, oldHead);
  assert.equal((await stateAfterStart(everything)).state, 'ready');
});

test('a power loss takes no record that was synced, forks no checkpoint, and is reported', async () => {
  const random = createRandom(Number(process.env.DRILL_SEED ?? 3));
  for (let round = 0; round < Number(process.env.DRILL_ROUNDS ?? 12); round++) {
    const on = machine();
    const checkpoints = new Map<number, string>();
    let synced = 0;
    for (let boot = 0; boot < 3; boot++) {
      const running = await startLog(on, {
        options: { checkpointMinIntervalMs: 1, checkpointIntervalMs: 5 },
      });
      assert.equal(running.log.state, 'ready', running.log.reason);
      assert.ok(running.log.stats().size >= synced);
      for (let n = random.below(40); n >= 0; n--) {
        running.log.reserve(1);
        const level = random.below(4) === 0 ? 'synced' : 'written';
        const done = await running.log.append(event(), level);
        assert.ok(done.ok);
        if (level === 'synced') synced = done.value.index + 1;
      }
      for (const { size, root } of running.checkpoints) {
        assert.equal(checkpoints.get(size) ?? root, root, `two roots for ${size} records`);
        checkpoints.set(size, root);
      }
      running.kill();
      on.files = (on.files as MemoryFiles).afterPowerLoss(() => random.below(2) === 0);
      on.bootId = String(boot + 2).repeat(32);
    }
  }
});

test('a clock that is far behind stops nothing: records say when that began and when it ended', async () => {
  const on = machine();
  const aheadMs = 1_763_769_600_000;
  on.nowMs = aheadMs;
  const first = await startLog(on);
  await appendMany(first.log, 3);
  await first.log.close();
  on.nowMs = aheadMs - 7_200_000;
  const second = await startLog(on);
  assert.equal(second.log.state, 'ready', second.log.reason);
  await appendMany(second.log, 3);
  await until(() => second.log.stats().clockBehindMs > 7_000_000, 'the gauge tells');
  const told = (what: RegExp) => second.reports.some((line) => what.test(line));
  await until(() => told(/^audit_clock the clock is 7200 s behind/), 'a line tells');
  on.nowMs = aheadMs + 1_000;
  await until(() => second.log.stats().clockBehindMs === 0, 'the gauge tells the end');
  await until(() => told(/^audit_clock the clock is no longer behind/), 'a line tells the end');
  await appendMany(second.log, 3);
  await second.log.close();

  const text = (on.files as MemoryFiles).read(wal)?.toString('latin1') ?? '';
  const clocks = text.match(/"data":\{"back_us":\d+\}/g);
  assert.deepEqual(clocks, ['"data":{"back_us":7200000000}', '"data":{"back_us":0}']);
  const times = [...text.matchAll(/"ts":(\d+)/g)].map(([, ts]) => Number(ts));
  assert.deepEqual(
    times,
    times.toSorted((x, y) => x - y),
  );
  const again = await stateAfterStart(on);
  assert.equal(again.state, 'ready', again.reason);
});

test('a step back while running is recorded once, and its end once', async () => {
  const on = machine();
  on.nowMs = 1_763_769_600_000;
  const { log } = await startLog(on);
  await appendMany(log, 3);
  on.nowMs -= 60_000;
  await appendMany(log, 6);
  on.nowMs += 120_000;
  await appendMany(log, 6);
  await log.close();
  const text = (on.files as MemoryFiles).read(wal)?.toString('latin1') ?? '';
  assert.deepEqual(text.match(/"back_us":\d+/g), ['"back_us":60000000', '"back_us":0']);
});

test('a kill between the boot record and the HEAD that counts it is survived, after a clean stop and many in a row', async () => {
  const { on, files } = await withRecords(10, 'close');
  for (let round = 0; round < 3; round++) {
    let booted = false;
    files.fault = (operation, path) => {
      if (operation === 'write' && path === wal) booted = true;
      else if (booted) throw systemError('EIO');
    };
    const killed = await startLog(on);
    assert.ok(booted, killed.log.reason);
    killed.kill();
    files.fault = () => {};
  }
  const { state, reason } = await stateAfterStart(on);
  assert.equal(state, 'ready', reason);
});

test('a power cut after the boot record was written finds a HEAD that is not clean any more', async () => {
  const { on, files } = await withRecords(10, 'close');
  const { anchor } = on;
  const before = files.read(wal)?.length;
  let after: MemoryFiles | undefined;
  files.fault = (operation, path) => {
    // The boot record's page reaches the disk, HEAD's next one does not.
    const written = files.read(wal)?.length !== before;
    if (operation !== 'sync' || path !== wal || !written || after !== undefined) return;
    after = files.afterPowerLoss();
    after.edit(wal, () => files.read(wal) as Buffer);
  };
  const running = await startLog(on);
  running.kill();
  assert.ok(after !== undefined);
  const { state, reason } = await stateAfterStart({ ...on, anchor, files: after, bootId: '2'.repeat(32) });
  assert.equal(state, 'ready', reason);
});

test('a store without an anchor is not believed once a checkpoint was published, whatever HEAD says and after a reboot', async () => {
  const on = machine();
  const files = on.files as MemoryFiles;
  let [headBefore, saved] = [undefined as Map<string, Buffer> | undefined, 0];
  const first = await startLog(on, {
    parts: {
      anchors: {
        load: async () => ok(undefined),
        save: async () => {
          if (saved++ === 0) headBefore = files.copy(headPath);
          return ok(undefined);
        },
      },
    },
  });
  first.kill();
  files.restore(headPath, headBefore as Map<string, Buffer>);
  const { state, reason } = await stateAfterStart({ ...on, bootId: '2'.repeat(32) });
  assert.equal(state, 'integrity_failed');
  assert.match(reason, /^anchor_missing/);
});
