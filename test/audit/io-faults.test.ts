import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, describe } from 'node:test';
import { type Call, type FaultyCall, FaultyFiles, lastingMs } from './support/faulty-files.ts';
import { assertAllLogged, recordedUses, signOn } from './support/load.ts';
import { appendMany, event, machine, origin, startLog, until } from './support/log.ts';
import { systemError } from './support/memory-files.ts';

const scratch = mkdtempSync(join(tmpdir(), 'intaglio-io-faults-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const quick = {
  checkpointIntervalMs: 20,
  checkpointMinIntervalMs: 1,
  syncIntervalMs: 5,
  checkpointLateMs: 100,
};

const cases: readonly FaultyCall[] = [
  ['the write-ahead file is written', 'write', /\.wal$/, 'EIO'],
  ['HEAD is written', 'write', /audit\.head$/, 'EIO'],
  ['the checkpoint is written', 'write', /checkpoint\.tmp$/, 'ENOSPC'],
  ['the checkpoint is opened', 'open', /checkpoint\.tmp$/, 'EMFILE'],
  ['the checkpoint is cut to nothing', 'truncate', /checkpoint\.tmp$/, 'EACCES'],
  ['the write-ahead file is synced', 'sync', /\.wal$/, 'EIO'],
  ['HEAD is synced', 'sync', /audit\.head$/, 'EIO'],
  ['the checkpoint is synced', 'sync', /checkpoint\.tmp$/, 'EIO'],
  ['the checkpoint is renamed', 'rename', /checkpoint$/, 'EACCES'],
  ['the directory is synced', 'syncDirectory', /e1 with checkpoint$/, 'EIO'],
  ['room on the disk is asked', 'space', /./, 'EIO'],
];

describe('a disk that fails while the log runs', { concurrency: 8 }, () => {
  for (const lasting of [false, true]) {
    for (const faulty of cases) {
      const [what, , , code] = faulty;
      const name = `${lasting ? 'fails for a while' : 'fails once'} when ${what}`;
      test(`${name}: nothing unlogged, recovery by itself, the reason told`, async () => {
        const directory = mkdtempSync(join(scratch, 'log-'));
        mkdirSync(join(directory, 'audit'));
        const files = new FaultyFiles();
        const on = machine(files);
        const { log, reports } = await startLog(on, { directory, options: quick });
        const load = signOn(log);
        await load.goesOn(20, name);

        const failures = files.failInTurn([faulty], lasting ? lastingMs : 0);
        await until(failures.over, `${name}: it failed`, lastingMs);
        await load.goesOn(20, name);
        const { checkpointSize } = log.stats();
        await until(() => log.stats().checkpointSize > checkpointSize, `${name}: checkpoints go on`);
        await load.end();
        await until(() => log.state === 'ready', `${name}: the log is ready`);
        assert.ok(
          reports.some((line) => line.includes(code)),
          `${code} is told: ${reports.join('; ')}`,
        );
        await log.close();
        assertAllLogged(load.answered, recordedUses(directory));
        const again = await startLog(on, { directory, options: quick });
        await until(() => again.log.state === 'ready', `${name}: ready after a start`);
        await again.log.close();
      });
    }
  }
});

describe('a checkpoint that fails is made again though nothing more is signed', { concurrency: 8 }, () => {
  const ofCheckpoint = cases.filter(([what]) => /the checkpoint|the directory/.test(what));
  for (const faulty of ofCheckpoint) {
    test(`${faulty[0]}: fails once`, async () => {
      const directory = mkdtempSync(join(scratch, 'log-'));
      mkdirSync(join(directory, 'audit'));
      const files = new FaultyFiles();
      const { log } = await startLog(machine(files), { directory, options: quick });
      const { size } = log.stats();
      const failures = files.failInTurn([faulty], 0);
      await appendMany(log, 3);
      await until(failures.over, `${faulty[0]}: it failed`);
      await until(() => log.stats().checkpointSize >= size + 3, `${faulty[0]}: a checkpoint covers them`);
      await log.close();
    });
  }
});

const writingAnew: readonly FaultyCall[] = [
  ['HEAD is read', 'read', /audit\.head$/, 'EIO'],
  ['the checkpoint is read', 'read', /checkpoint$/, 'EIO'],
  ['segments are listed', 'list', /seg$/, 'EMFILE'],
  ['write-ahead files are listed', 'list', /wal$/, 'EMFILE'],
  ['the write-ahead file is read', 'read', /\.wal$/, 'EIO'],
  ['its copy is opened', 'open', /\.wal\.tmp$/, 'EMFILE'],
  ['its copy is cut to nothing', 'truncate', /\.wal\.tmp$/, 'EACCES'],
  ['its copy is written', 'write', /\.wal\.tmp$/, 'ENOSPC'],
  ['its copy is synced', 'sync', /\.wal\.tmp$/, 'EIO'],
  ['its copy is renamed', 'rename', /\.wal$/, 'EACCES'],
  ['the directory is synced', 'syncDirectory', /wal with/, 'EIO'],
];

describe('fdatasync fails, and while what it lost is written anew', { concurrency: 8 }, () => {
  for (const faulty of writingAnew) {
    for (const forMs of [0, lastingMs]) {
      const name = `${faulty[0]}, which fails ${forMs > 0 ? 'for a while' : 'once'}`;
      test(`${name}: nothing unlogged, recovery by itself, the reason told`, async () => {
        const directory = mkdtempSync(join(scratch, 'log-'));
        mkdirSync(join(directory, 'audit'));
        const files = new FaultyFiles();
        const on = machine(files);
        const { log, reports } = await startLog(on, { directory, options: quick });
        const load = signOn(log);
        await load.goesOn(20, name);
        const failures = files.failInTurn(
          [['the write-ahead file is synced', 'sync', /\.wal$/, 'EIO'], faulty],
          forMs,
        );
        await until(failures.over, `${name}: it failed`, 2 * lastingMs);
        await load.goesOn(20, name);
        await load.end();
        await until(() => log.state === 'ready', `${name}: the log is ready`);
        const told = `the audit directory cannot be used: ${faulty[3]}`;
        assert.ok(
          reports.some((line) => line.includes(told)),
          `${told} is told: ${reports.join('; ')}`,
        );
        await log.close();
        assertAllLogged(load.answered, recordedUses(directory));
        const again = await startLog(on, { directory, options: quick });
        await until(() => again.log.state === 'ready', `${name}: ready after a start`);
        await again.log.close();
      });
    }
  }
});

const atStart: readonly (readonly [call: Call, path: RegExp, code: string])[] = [
  ['open', /audit\.head$/, 'EMFILE'],
  ['read', /audit\.head$/, 'EIO'],
  ['list', /audit/, 'EMFILE'],
  ['read', /\.wal$/, 'EIO'],
  ['syncDirectory', /wal with/, 'EIO'],
];

for (const [call, path, code] of atStart) {
  test(`a start whose ${call} of ${path.source} fails goes on when it does not`, async () => {
    const directory = mkdtempSync(join(scratch, 'log-'));
    const files = new FaultyFiles();
    const on = machine(files);
    const first = await startLog(on, { directory, options: quick });
    await appendMany(first.log, 3);
    // As kill -9, so that the next start has something to read back and to write anew.
    first.kill();
    let failing = true;
    files.fault = (made, where) => {
      if (failing && made === call && path.test(where)) throw systemError(code);
    };
    const { log } = await startLog(on, { directory, options: quick });
    assert.equal(log.state, 'unavailable');
    assert.match(log.reason ?? '', new RegExp(code));
    failing = false;
    await until(() => log.state === 'ready', 'the log starts');
    assert.equal(log.checkpoint()?.origin, origin);
    await appendMany(log, 3);
    await log.close();
  });
}

test('a full disk whose ballast cannot be removed is told, and the log goes on when there is room', async () => {
  const directory = mkdtempSync(join(scratch, 'log-'));
  const files = new FaultyFiles();
  const { log, reports } = await startLog(machine(files), { directory, options: quick });
  let full = true;
  files.fault = (call, path) => {
    if (full && call === 'write' && path.endsWith('.wal')) throw systemError('ENOSPC');
    if (call === 'remove' && path.endsWith('ballast')) throw systemError('EACCES');
  };
  assert.ok(log.reserve(1));
  assert.equal((await log.append(event(), 'written')).ok, false);
  await until(() => reports.some((line) => line.includes('EACCES')), 'the failure is told');
  full = false;
  await until(() => log.state === 'ready', 'the log goes on');
  await log.close();
});

for (const [what, call, path, code] of [
  ['HEAD cannot be opened', 'open', /audit\.head$/, 'EMFILE'],
  ['HEAD cannot be read', 'read', /audit\.head$/, 'EIO'],
  ['the checkpoint cannot be read', 'read', /checkpoint$/, 'EIO'],
  ['epochs cannot be listed', 'list', /audit$/, 'EMFILE'],
  ['its directory cannot be made', 'makeDirectory', /e2/, 'ENOSPC'],
] as const satisfies readonly FaultyCall[]) {
  test(`an acceptance while ${what} leaves the failure as it was, to be accepted again`, async () => {
    const directory = mkdtempSync(join(scratch, 'log-'));
    const files = new FaultyFiles();
    const on = machine(files);
    const { log } = await startLog(on, { directory, options: quick });
    log.contradicted('witness.example/w1 has cosigned 70000 records');
    await until(() => log.state === 'integrity_failed', 'the log is latched');
    files.fault = (made, where) => {
      if (made === call && path.test(where)) throw systemError(code);
    };
    const acceptance = { reason: 'drill', approvers: ['ada', 'grace'] };
    assert.equal((await log.accept(acceptance)).ok, false);
    assert.equal(log.state, 'integrity_failed');
    assert.match(log.reason ?? '', new RegExp(code));
    files.fault = () => {};
    assert.equal((await log.accept(acceptance)).ok, true);
    assert.equal(log.state, 'ready');
    await log.close();
  });
}
