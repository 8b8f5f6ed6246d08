import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { type Files, type LogFile, systemFiles } from '../../src/audit/disk/files.ts';
import { parseRecord } from '../../src/audit/format/record.ts';
import { openLogReader } from '../../src/audit/reading/log-reader.ts';
import { appendMany, event, machine, origin, startLog, until } from './support/log.ts';
import { systemError } from './support/memory-files.ts';

/** Milliseconds that a lasting fault lasts; the drill takes 10,000. */
const lastingMs = Number(process.env.DRILL_FAULT_MS ?? 150);

type Call =
  | 'open'
  | 'read'
  | 'list'
  | 'rename'
  | 'remove'
  | 'syncDirectory'
  | 'space'
  | 'write'
  | 'sync'
  | 'truncate';

/** The real file system, whose calls fail where `fault` throws. */
class FaultyFiles implements Files {
  fault: (call: Call, path: string) => void = () => {};
  readonly space = (directory: string) => this.#with('space', directory, () => systemFiles.space(directory));

  open(path: string, how: 'read' | 'write'): LogFile {
    const file = this.#with('open', path, () => systemFiles.open(path, how));
    return {
      size: () => file.size(),
      read: (into, position) => this.#with('read', path, () => file.read(into, position)),
      write: (bytes, from, length, position) =>
        this.#with('write', path, () => file.write(bytes, from, length, position)),
      sync: async () => this.#with('sync', path, () => file.sync()),
      truncate: (size) => this.#with('truncate', path, () => file.truncate(size)),
      close: () => file.close(),
    };
  }
  read(path: string): Buffer | undefined {
    return this.#with('read', path, () => systemFiles.read(path));
  }
  list(directory: string): string[] {
    return this.#with('list', directory, () => systemFiles.list(directory));
  }
  makeDirectory(path: string): void {
    systemFiles.makeDirectory(path);
  }
  rename(from: string, to: string): void {
    this.#with('rename', to, () => systemFiles.rename(from, to));
  }
  remove(path: string): void {
    this.#with('remove', path, () => systemFiles.remove(path));
  }
  async syncDirectory(path: string): Promise<void> {
    await this.#with('syncDirectory', path, () => systemFiles.syncDirectory(path));
  }

  #with<T>(call: Call, path: string, act: () => T): T {
    this.fault(call, path);
    return act();
  }
}

const scratch = mkdtempSync(join(tmpdir(), 'intaglio-io-faults-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const quick = {
  checkpointIntervalMs: 20,
  checkpointMinIntervalMs: 1,
  syncIntervalMs: 5,
  checkpointLateMs: 60,
};

/** The op_ids of all uses of keys on the log in this directory, after it was closed. */
function recorded(directory: string): string[] {
  const reader = openLogReader(join(directory, 'audit', 'e1'));
  const found: string[] = [];
  for (let index = 0; index < reader.size; index++) {
    const record = parseRecord(reader.entry(index) ?? new Uint8Array());
    if (record !== undefined && record.purpose === 'sign') found.push(record.op_id);
  }
  return found;
}

const cases: readonly (readonly [what: string, call: Call, path: RegExp, code: string])[] = [
  ['the write-ahead file is written', 'write', /\.wal$/, 'EIO'],
  ['HEAD is written', 'write', /audit\.head$/, 'EIO'],
  ['the checkpoint is written', 'write', /checkpoint\.tmp$/, 'ENOSPC'],
  ['the checkpoint is opened', 'open', /checkpoint\.tmp$/, 'EMFILE'],
  ['the checkpoint is cut to nothing', 'truncate', /checkpoint\.tmp$/, 'EACCES'],
  ['the write-ahead file is synced', 'sync', /\.wal$/, 'EIO'],
  ['HEAD is synced', 'sync', /audit\.head$/, 'EIO'],
  ['the checkpoint is synced', 'sync', /checkpoint\.tmp$/, 'EIO'],
  ['the checkpoint is renamed', 'rename', /checkpoint$/, 'EACCES'],
  ['the directory is synced', 'syncDirectory', /e1$/, 'EIO'],
  ['room on the disk is asked', 'space', /./, 'EIO'],
];

for (const lasting of [false, true]) {
  for (const [what, call, path, code] of cases) {
    const name = `${lasting ? 'always fails for a while' : 'fails once'} when ${what}`;
    test(`a disk that ${name}: nothing unlogged, recovery by itself, the reason told`, async () => {
      const directory = mkdtempSync(join(scratch, 'log-'));
      mkdirSync(join(directory, 'audit'));
      const files = new FaultyFiles();
      const on = machine(files);
      const { log, reports } = await startLog(on, { directory, options: quick });
      const answered: string[] = [];
      let load = true;
      const signing = (async () => {
        while (load) {
          const level = answered.length % 3 === 0 ? 'synced' : 'written';
          if (log.reserve(1)) {
            const use = event();
            const outcome = await log.append(use, level);
            if (outcome.ok) answered.push(use.opId);
          }
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      })();
      const goesOn = async (more: number) => {
        const before = answered.length;
        await until(() => answered.length > before + more, `${name}: signing goes on`);
      };
      await goesOn(20);

      let failures = 0;
      const untilMs = performance.now() + lastingMs;
      files.fault = (made, where) => {
        if (made !== call || !path.test(where)) return;
        if (lasting ? performance.now() > untilMs : failures > 0) return;
        failures++;
        throw systemError(code);
      };
      await until(() => failures > 0, `${name}: it failed`);
      if (lasting) await until(() => performance.now() > untilMs, 'the fault ends');
      await goesOn(20);
      const { checkpointSize } = log.stats();
      await until(() => log.stats().checkpointSize > checkpointSize, `${name}: checkpoints go on`);
      load = false;
      await signing;
      await until(() => log.state === 'ready', `${name}: the log is ready`);
      assert.ok(
        reports.some((line) => line.includes(code)),
        `${code} is told: ${reports.join('; ')}`,
      );
      await log.close();

      const logged = recorded(directory);
      assert.equal(new Set(logged).size, logged.length, 'no record twice');
      assert.deepEqual(
        answered.filter((opId) => !logged.includes(opId)),
        [],
        'each answer has its record',
      );
      const again = await startLog(on, { directory, options: quick });
      assert.equal(again.log.state, 'ready', again.log.reason);
      await again.log.close();
    });
  }
}

const atStart: readonly (readonly [call: Call, path: RegExp, code: string])[] = [
  ['open', /audit\.head$/, 'EMFILE'],
  ['read', /audit\.head$/, 'EIO'],
  ['list', /audit/, 'EMFILE'],
  ['read', /\.wal$/, 'EIO'],
  ['syncDirectory', /wal$/, 'EIO'],
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

test('an acceptance whose epoch cannot begin leaves the failure as it was, to be accepted again', async () => {
  const directory = mkdtempSync(join(scratch, 'log-'));
  const files = new FaultyFiles();
  const on = machine(files);
  const { log } = await startLog(on, { directory, options: quick });
  log.contradicted('witness.example/w1 has cosigned 70000 records');
  await until(() => log.state === 'integrity_failed', 'the log is latched');
  files.fault = (call, path) => {
    if (call === 'open' && path.endsWith('audit.head')) throw systemError('EMFILE');
  };
  const acceptance = { reason: 'drill', approvers: ['ada', 'grace'] };
  assert.equal((await log.accept(acceptance)).ok, false);
  assert.equal(log.state, 'integrity_failed');
  assert.match(log.reason ?? '', /EMFILE/);
  files.fault = () => {};
  assert.equal((await log.accept(acceptance)).ok, true);
  assert.equal(log.state, 'ready');
  await log.close();
});
