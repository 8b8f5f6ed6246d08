import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import { encodeRecord, logKeyId } from '../../../src/audit/format/record.ts';
import { intaglio } from '../../cli/intaglio.ts';
import { logSigners } from '../../support/audit-notes.ts';
import { auditRecords } from '../../support/audit-records.ts';
import { MemoryTree } from '../../support/audit-trees.ts';
import { compileCache } from '../../support/compile-cache.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';
import { testOrigin } from '../standards/vectors.ts';

const signers = logSigners();
const origin = testOrigin;
const all = [...auditRecords(9_000)];

/** A log with these entries, as it lies in a directory; a longer one takes its place. */
async function writeLog(directory: string, entries: readonly Uint8Array[], named = origin): Promise<void> {
  const tree = new MemoryTree(entries);
  for (const [path, bytes] of tree.files()) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), bytes);
  }
  writeFileSync(join(directory, 'checkpoint'), await tree.checkpoint(named, signers));
}

function files(context: TestContext) {
  const directory = temporaryDirectory(context);
  const [log, cursor, metrics] = ['log', 'cursor', 'audit.prom'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  return {
    log,
    cursor,
    metrics,
    options: ['--format', 'jsonl', '--cursor', cursor, '--metrics-file', metrics],
  };
}

function indexesOf(stdout: string): number[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => (JSON.parse(line) as { index: number }).index);
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, at) => from + at);

test('an export goes on where its cursor is, and says how late it is', async (context) => {
  const { log, cursor, metrics, options } = files(context);
  await writeLog(log, all.slice(0, 700));
  const first = await intaglio(['audit', 'export', log, ...options]);
  assert.deepEqual([first.status, first.stderr, indexesOf(first.stdout)], [0, '', range(0, 700)]);
  assert.ok(first.stdout.includes(Buffer.from(all[300]!).toString('utf8')));
  const again = await intaglio(['audit', 'export', log, ...options]);
  assert.deepEqual([again.status, again.stdout], [0, '']);

  await writeLog(log, all.slice(0, 1_000));
  const second = await intaglio(['audit', 'export', log, ...options]);
  assert.deepEqual(indexesOf(second.stdout), range(700, 1_000));
  const { next, skipped, lag_records, lag_seconds, ...rest } = JSON.parse(readFileSync(cursor, 'utf8'));
  assert.deepEqual([next, skipped, lag_records, lag_seconds, rest.origin], [1_000, 0, 0, 0, origin]);
  const text = readFileSync(metrics, 'utf8');
  assert.match(
    text,
    /^# TYPE intaglio_audit_export_lag_records gauge\nintaglio_audit_export_lag_records 0$/m,
  );
  assert.match(text, /^intaglio_audit_export_next_index 1000$/m);
});

test('followed and killed at any moment, every record is given, in order', {
  timeout: 60_000,
}, async (context) => {
  const { log, cursor, options } = files(context);
  const seen: number[] = [];
  for (const [round, size] of [300, 2_000, 6_000, 9_000].entries()) {
    await writeLog(log, all.slice(0, size));
    const child = spawn(
      process.execPath,
      ['src/cli/main.ts', 'audit', 'export', log, ...options, '--follow'],
      { env: { PATH: process.env.PATH, ...compileCache }, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const gone = once(child, 'exit');
    const stopAt = round === 3 ? size - 1 : size - 150;
    for await (const line of createInterface(child.stdout)) {
      // The line that the kill cut is not one.
      if (!line.endsWith('}}')) continue;
      seen.push((JSON.parse(line) as { index: number }).index);
      if (seen.at(-1) === stopAt) child.kill('SIGKILL');
    }
    await gone;
  }
  // What was taken and not yet counted comes again; nothing is left out.
  assert.deepEqual(
    [...new Set(seen)].sort((a, b) => a - b),
    range(0, 9_000),
  );
  for (const [at, index] of seen.entries()) {
    const before = seen[at - 1] ?? -1;
    assert.ok(index === before + 1 || index <= before, `${before}, then ${index}`);
  }
  assert.ok(existsSync(cursor));
});

test('a reader that leaves does not move the cursor past what it was given', async (context) => {
  const { log, cursor, options } = files(context);
  await writeLog(log, all);
  const child = spawn(process.execPath, ['src/cli/main.ts', 'audit', 'export', log, ...options], {
    env: { PATH: process.env.PATH, ...compileCache },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = once(child, 'exit');
  await once(child.stdout, 'data');
  child.stdout.destroy();
  assert.deepEqual(await gone, [141, null]);
  const next = existsSync(cursor) ? JSON.parse(readFileSync(cursor, 'utf8')).next : 0;
  assert.ok(next < 9_000);
});

test('a log that was taken back, replaced or is another one is not gone on with', async (context) => {
  const { log, options } = files(context);
  await writeLog(log, all.slice(0, 700));
  assert.equal((await intaglio(['audit', 'export', log, ...options])).status, 0);
  const cases: [Uint8Array[], string, RegExp][] = [
    [all.slice(0, 600), origin, /it was taken back/],
    [all.slice(1, 900), origin, /the log was replaced/],
    [all.slice(0, 900), 'other.example/audit', /which is not in/],
  ];
  for (const [entries, named, why] of cases) {
    await writeLog(log, entries, named);
    const { status, stdout, stderr } = await intaglio(['audit', 'export', log, ...options]);
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, why);
  }
});

test('after an epoch comes the next one, and what an ended epoch has lost is named', async (context) => {
  const { log, cursor, options } = files(context);
  await writeLog(join(log, 'e1'), all.slice(0, 300));
  assert.deepEqual(indexesOf((await intaglio(['audit', 'export', log, ...options])).stdout), range(0, 300));
  await writeLog(join(log, 'e1'), all.slice(0, 900));
  writeFileSync(join(log, 'e1', 'tile/entries/002'), 'damaged');
  await writeLog(join(log, 'e2'), all.slice(900, 1_200), `${origin}/e2`);
  const { status, stdout, stderr } = await intaglio(['audit', 'export', log, ...options]);
  assert.deepEqual([status, indexesOf(stdout)], [0, [...range(300, 512), ...range(0, 300)]]);
  assert.match(stderr, /records 512 to 899 of \S+ are passed over: they cannot be read/);
  const { origin: reached, next, skipped } = JSON.parse(readFileSync(cursor, 'utf8'));
  assert.deepEqual([reached, next, skipped], [`${origin}/e2`, 300, 388]);
});

/** A record of the log's own that says from which index on entries are kept. */
const retention = (from: number) =>
  Buffer.from(
    encodeRecord({
      ...{
        actor: '',
        alg: 'none',
        input_hash: 'none',
        key_id: logKeyId,
        key_version: 0,
        op_id: '',
        tenant: '',
      },
      ...{ purpose: 'retention', result: 'ok', seq: 1, ts: 1_763_769_600_000_000, v: 1 },
      ...{ data: { minimum_index: from }, type: 'retention' },
    }),
  );

/** The same log without its first entries, as far as a record may say. */
async function withoutFirst(log: string, entries: readonly Uint8Array[], from: number): Promise<void> {
  await writeLog(log, entries);
  for (let bundle = 0; bundle < from / 256; bundle++) {
    for (const kind of ['entries', '0']) rmSync(join(log, 'tile', kind, `${bundle}`.padStart(3, '0')));
  }
  writeFileSync(join(log, 'minimum-index'), `${from}\n`);
}

test('what a record says is no longer kept is passed over and counted', async (context) => {
  const { log, cursor, options } = files(context);
  await withoutFirst(log, [...all.slice(0, 900), retention(512), ...all.slice(900, 1_000)], 512);
  const { status, stdout, stderr } = await intaglio(['audit', 'export', log, ...options]);
  assert.deepEqual([status, indexesOf(stdout)], [0, range(512, 1_001)]);
  assert.match(stderr, /records 0 to 511 of \S+ are passed over: they are no longer kept/);
  assert.equal(JSON.parse(readFileSync(cursor, 'utf8')).skipped, 512);
});

test('what is missing besides is not passed over, unless --allow-archived says so or its epoch has ended', async (context) => {
  const { log, cursor, options } = files(context);
  const entries = [...all.slice(0, 900), retention(256), ...all.slice(900, 1_000)];
  await withoutFirst(log, entries, 512);
  const refused = await intaglio(['audit', 'export', log, ...options]);
  assert.deepEqual([refused.status, refused.stdout, existsSync(cursor)], [2, '', false]);
  assert.match(refused.stderr, /the records 256 to 511: they are missing, and no record says/);
  const allowed = await intaglio(['audit', 'export', log, ...options, '--allow-archived', '512']);
  assert.deepEqual([allowed.status, indexesOf(allowed.stdout)], [0, range(512, 1_001)]);

  const epochs = files(context);
  await withoutFirst(join(epochs.log, 'e1'), entries, 512);
  await writeLog(join(epochs.log, 'e2'), all.slice(0, 10), `${origin}/e2`);
  const { status, stdout, stderr } = await intaglio(['audit', 'export', epochs.log, ...epochs.options]);
  assert.deepEqual([status, indexesOf(stdout)], [0, [...range(512, 1_001), ...range(0, 10)]]);
  assert.match(stderr, /records 256 to 511 of \S+ are passed over: they are missing/);
});

test('options that do not go together are refused', async (context) => {
  const { log, cursor } = files(context);
  await writeLog(log, all.slice(0, 10));
  const cases: [string[], RegExp][] = [
    [['--format', 'xml'], /--format takes one of jsonl, cef, ocsf/],
    [['--format', 'cef', '--follow'], /--follow needs --cursor/],
    [[`${log}-files`, '--cursor', cursor], /go with --format/],
    [[`${log}-files`, '--format', 'cef'], /give a directory or --format/],
    [[], /give a directory or --format/],
  ];
  for (const [args, why] of cases) {
    const { status, stderr } = await intaglio(['audit', 'export', log, ...args]);
    assert.equal(status, 1);
    assert.match(stderr, why);
  }
  writeFileSync(cursor, '{}');
  const broken = await intaglio(['audit', 'export', log, '--format', 'cef', '--cursor', cursor]);
  assert.match(broken.stderr, /is not a cursor/);
});
