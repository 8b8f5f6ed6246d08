import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { describe, type TestContext } from 'node:test';
import { segmentLeaves } from '../../src/audit/disk/layout.ts';
import type { AuditLogClient } from '../../src/audit/service/log-client.ts';
import { intaglio } from '../cli/intaglio.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { type FaultyCall, FaultyFiles, lastingMs } from './support/faulty-files.ts';
import { assertAllLogged, recordedUses, signOn } from './support/load.ts';
import { appendMany, event, machine, origin, startLog, until } from './support/log.ts';
import { seededSigner } from './support/signers.ts';

/** The last segment lacks so many records; the load begins with four times as many, of which most belong into the next file. */
const lacking = 50;

/** What replaces a file whole. */
const replacing = (what: string, file: string): FaultyCall[] => [
  [`${what} are opened`, 'open', new RegExp(`${file}\\.tmp$`), 'EMFILE'],
  [`${what} are cut to nothing`, 'truncate', new RegExp(`${file}\\.tmp$`), 'EACCES'],
  [`${what} are written`, 'write', new RegExp(`${file}\\.tmp$`), 'ENOSPC'],
  [`${what} are synced`, 'sync', new RegExp(`${file}\\.tmp$`), 'EIO'],
  [`${what} are renamed`, 'rename', new RegExp(`${file}$`), 'EACCES'],
  [`the directory of ${what} is synced`, 'syncDirectory', new RegExp(`seg with ${file}$`), 'EIO'],
];
const first = (ending: string) => `0{12}\\.${ending}`;

interface Run {
  readonly name: string;
  readonly segments: number;
  readonly retainRecords?: number;
  /** In the order in which they are made. */
  readonly calls: readonly FaultyCall[];
}

const nextFile: Run = {
  name: 'the next write-ahead file',
  segments: 1,
  calls: [
    ['the next file is opened', 'open', /0065536\.wal$/, 'EMFILE'],
    ['the full file is synced', 'sync', /0{20}\.wal$/, 'EIO'],
    ['the next file is written', 'write', /0065536\.wal$/, 'ENOSPC'],
    ['the directory is synced', 'syncDirectory', /wal with/, 'EIO'],
    ['the next file is synced', 'sync', /0065536\.wal$/, 'EIO'],
  ],
};

const sealing: readonly Run[] = [
  {
    name: 'the entries',
    segments: 1,
    calls: [
      ['the full file is read', 'read', /0{20}\.wal$/, 'EMFILE'],
      ['the directory of segments is made', 'makeDirectory', /seg$/, 'ENOSPC'],
      ...replacing('entries', first('ents\\.zst')),
    ],
  },
  {
    name: 'the hashes',
    segments: 1,
    calls: [
      ...replacing('hashes', first('tile1')),
      ['the roots are opened', 'open', /roots$/, 'EMFILE'],
      ['the roots are written', 'write', /roots$/, 'ENOSPC'],
      ['the roots are synced', 'sync', /roots$/, 'EIO'],
    ],
  },
  {
    name: 'the snapshot, and the full file goes',
    segments: 1,
    calls: [
      ...replacing('numbers', first('state')),
      ['the full file is removed', 'remove', /0{20}\.wal$/, 'EACCES'],
      ['its directory is synced', 'syncDirectory', /wal with 0{20}\.wal$/, 'EIO'],
    ],
  },
];

const removing: Run = {
  name: 'what is no longer kept',
  segments: 3,
  retainRecords: 1,
  calls: [
    ['the oldest snapshot is removed', 'remove', /0{12}\.state$/, 'EPERM'],
    ['segments are listed', 'list', /seg$/, 'EMFILE'],
    ['entries are removed', 'remove', /0{11}2\.ents\.zst$/, 'EROFS'],
  ],
};

/** Filling segments takes seconds: one log has all of it in turn, but where faults last so long that they share the time. */
const drill = lastingMs > 1_000;
const inTurn: Run = { name: 'sealing', segments: 1, calls: sealing.flatMap(({ calls }) => calls) };
const runs = (lasting: boolean) => [
  ...(lasting && drill ? sealing : [inTurn]),
  ...(lasting && !drill ? [] : [nextFile, removing]),
];

/** A log whose next records fill its last segment. */
async function nearlyFull(context: TestContext, { segments, retainRecords = 0 }: Run) {
  const directory = temporaryDirectory(context);
  mkdirSync(join(directory, 'audit'));
  const files = new FaultyFiles();
  const on = machine(files);
  const options = {
    checkpointIntervalMs: 50,
    checkpointMinIntervalMs: 1,
    syncIntervalMs: 5,
    // Filling a segment is all that this thread does for a while.
    checkpointLateMs: 60_000,
    maxDurableLagMs: 60_000,
    retainRecords,
  };
  const running = await startLog(on, { directory, options });
  await fill(running.log, segments * segmentLeaves - lacking);
  await until(() => sealed(directory, segments - 1), 'what came before is sealed');
  return { directory, files, on, options, ...running };
}

/** Appends up to this size. A busy machine answers some too late, and they are on the log all the same. */
async function fill(log: AuditLogClient, size: number): Promise<void> {
  for (let filled = log.stats().size; filled < size; filled = log.stats().size) {
    const together = Math.min(1_000, size - filled);
    await until(() => log.reserve(together), 'room');
    await Promise.all(Array.from({ length: together }, () => log.append(event(), 'written')));
    await until(() => log.stats().size >= filled + together, 'they are written');
  }
}

/** Whether so many segments are, and nothing else is left of them. */
function sealed(directory: string, segments: number): boolean {
  const names = readdirSync(join(directory, 'audit', 'e1', 'wal'));
  return names.every((name) => Number(name.slice(0, 20)) >= segments * segmentLeaves);
}

for (const lasting of [false, true]) {
  describe(`each call of sealing fails ${lasting ? 'for a while' : 'once'}`, { concurrency: 5 }, () => {
    for (const run of runs(lasting)) {
      test(`${run.name}: nothing unlogged, sealed in the end, the reasons told, verified`, async (t) => {
        const { directory, files, on, options, log, reports } = await nearlyFull(t, run);
        const failures = files.failInTurn(run.calls, lasting ? lastingMs : 0);
        const load = signOn(log, 4 * lacking);
        while (!failures.over()) {
          const next = failures.next();
          await until(() => failures.over() || failures.next() !== next, `it fails: ${next}`, lastingMs);
        }
        await load.goesOn(20, run.name);
        await until(() => sealed(directory, run.segments), `${run.name}: sealed`);
        const segments = join(directory, 'audit', 'e1', 'seg');
        if (options.retainRecords > 0) {
          await until(() => !readdirSync(segments).some((name) => name.endsWith('.zst')), 'not kept');
        }
        await load.end();
        await until(() => log.state === 'ready', `${run.name}: the log is ready`);
        for (const code of new Set(run.calls.map(([, , , code]) => code))) {
          assert.ok(
            reports.some((line) => line.startsWith('audit_disk') && line.includes(code)),
            `${code} is told: ${reports.join('; ')}`,
          );
        }
        await log.close();

        // Of the load, the first ones went where nothing is kept.
        const kept = load.answered.slice(options.retainRecords > 0 ? lacking : 0);
        assertAllLogged(kept, recordedUses(directory));
        assert.deepEqual(
          readdirSync(segments).filter((name) => name.endsWith('.state')).length,
          Math.min(2, run.segments),
          'snapshots that nothing needs are gone',
        );
        const { status, stdout } = await verify(directory);
        assert.equal(status, 0, stdout);
        assert.match(stdout, /verified: the log is what its checkpoint says\n$/);
        if (options.retainRecords > 0) {
          const said = /entries 0 to 196607; a record says that those before 196608 are no longer kept/;
          assert.match(stdout, said);
        }
        const again = await startLog(on, { directory, options });
        await until(() => again.log.state === 'ready', `${run.name}: ready after a start`);
        await again.log.close();
      });
    }
  });
}

test('what reads sealed segments fails: the log goes on, the reason is told, and they are read in the end', async (t) => {
  const { directory, files, on, options, log } = await nearlyFull(t, inTurn);
  const load = signOn(log, 4 * lacking);
  await until(() => sealed(directory, 1), 'sealed');
  await load.end();
  await log.close();

  const failures = files.failInTurn([
    ['the roots are read', 'read', /roots$/, 'EIO'],
    ['segments are listed', 'list', /seg$/, 'EMFILE'],
    ['the hashes are read', 'read', /tile1$/, 'EACCES'],
    ['the entries are read', 'read', /ents\.zst$/, 'EIO'],
  ]);
  const again = await startLog(on, { directory, options });
  await until(failures.over, 'each has failed');
  await until(() => again.reports.includes('audit_disk scrub: works again'), 'all is read');
  await appendMany(again.log, 3);
  for (const code of ['EIO', 'EMFILE', 'EACCES']) {
    assert.ok(again.reports.includes(`audit_disk scrub: fails and is tried again (${code})`), code);
  }
  await again.log.close();

  // Entries of a sealed segment are not there, and the log has no record that they need not be.
  rmSync(join(directory, 'audit', 'e1', 'seg', '000000000000.ents.zst'));
  const lost = await verify(directory);
  assert.equal(lost.status, 2);
  assert.match(lost.stdout, /NOT RIGHT +at 0: the entries from 0 to 65535 are missing/);
  assert.equal((await verify(directory, '--allow-archived', '65536')).status, 0);
  const exported = await intaglio(['audit', 'export', join(directory, 'audit'), join(directory, 'export')]);
  assert.equal(exported.status, 2);
  assert.match(exported.stderr, /lacks the entries from 0 to 65535/);
  const scrub = ['audit', 'scrub', join(directory, 'audit')];
  const scrubbed = await intaglio(scrub);
  assert.equal(scrubbed.status, 2);
  assert.match(scrubbed.stderr, /the entries of segment 0 are gone/);
  assert.equal((await intaglio([...scrub, '--allow-archived', '65536'])).status, 0);
});

async function verify(directory: string, ...flags: string[]) {
  const keys = join(directory, 'keys');
  const signers = [seededSigner('ed25519', origin), seededSigner('mlDsa44', origin)];
  writeFileSync(keys, signers.map(({ vkey }) => `${vkey}\n`).join(''));
  return intaglio(['audit', 'verify', join(directory, 'audit'), '--keys', keys, ...flags]);
}
