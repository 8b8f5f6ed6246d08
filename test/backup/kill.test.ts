import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { stagingOf, writePlan } from '../../src/backup/staging.ts';
import { openStoreSnapshot } from '../../src/backup/store-part.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';
import { done, identity, make, reasonOf, restore } from './backups.ts';

const child = join(import.meta.dirname, 'restore-child.ts');
const kills = Number(process.env.DRILL_KILLS ?? 4);

let backup = '';
let backupId = '';
let kid = '';
let whole: readonly string[] = [];
let takesMs = 0;

/** Everything in a data directory, but what says when and by whom it was restored. */
async function contentOf(dataDir: string): Promise<string[]> {
  const files = readdirSync(dataDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/offline-acts\.json$|\.mdb$|\/\.replaced-/.test(path));
  const snapshot = await openStoreSnapshot(dataDir);
  const digest = createHash('sha256');
  for await (const piece of snapshot.pieces(() => {})) digest.update(piece);
  await snapshot.close();
  return [
    ...files.map(
      (path) =>
        `${path.slice(dataDir.length)} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`,
    ),
    `store ${digest.digest('hex')}`,
  ].sort();
}

before(async () => {
  const service = await startInProcess();
  const made = Array.from({ length: 40 }, () =>
    call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' }),
  );
  kid = (await Promise.all(made)).map(({ body }) => body.kid)[0];
  await service.stop();
  backup = join(temporaryDirectory(), 'kms.age');
  backupId = done(await make(service.dataDir, backup)).head.id;
  const target = temporaryDirectory();
  const startedMs = performance.now();
  done(await restore(backup, target));
  takesMs = performance.now() - startedMs;
  whole = await contentOf(target);
});

/** Restores in a process of its own, which is killed so long after it began. */
async function restoreAndKill(dataDir: string, afterMs: number, how = ''): Promise<void> {
  const running = spawn(process.execPath, [child, backup, dataDir, identity, how], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running.stdout.once('data', () => setTimeout(() => running.kill('SIGKILL'), afterMs));
  await once(running, 'close');
}

test('a restore that is killed anywhere leaves no data directory or the whole one, and can be run again', {
  timeout: 120_000 + kills * 5_000,
}, async (t) => {
  const found: Record<string, number> = {};
  for (let round = 0; round < kills; round++) {
    const target = join(temporaryDirectory(), 'restored');
    const replaces = round % 3 === 2;
    if (replaces) {
      mkdirSync(target, { mode: 0o700 });
      writeFileSync(join(target, 'root.key'), 'of before');
    }
    // The process takes about twice as long as this one, which has loaded and compiled everything.
    await restoreAndKill(target, Math.random() * takesMs * 2.5, replaces ? 'replace' : '');
    const state = stateOf(target);
    found[state] = (found[state] ?? 0) + 1;
    if (existsSync(stagingOf(target)))
      await assert.rejects(
        startInProcess({ dataDir: target }),
        /StartError: a restore of .* was interrupted/,
      );
    const again = await restore(backup, target, { replace: replaces && existsSync(stagingOf(target)) });
    if (replaces && !again.ok) done(await restore(backup, target, { replace: true }));
    else if (!again.ok) assert.equal(reasonOf(again), 'target_not_empty', 'it was whole already');
    assert.ok(!existsSync(stagingOf(target)));
    assert.deepEqual(await contentOf(target), whole);
    if (replaces) assert.ok(isKept(target), 'what was there before is kept');
    if (round > 0) continue;
    const service = await startInProcess({ dataDir: target });
    const body = { kid: kid.split('#')[0], payload_b3: helloWorldB3 };
    assert.equal((await call(service, service.token, 'POST', '/v1/kms/sign', body)).status, 200);
    assert.equal(await service.stop(), 0);
  }
  t.diagnostic(`killed: ${JSON.stringify(found)}`);
});

function stateOf(target: string): string {
  if (!existsSync(target)) return 'before it began';
  if (existsSync(join(stagingOf(target), '.plan'))) return 'while its files went to their places';
  if (existsSync(stagingOf(target))) return 'while it was read';
  return existsSync(join(target, 'store')) ? 'when it was done' : 'before it began';
}

function isKept(target: string): boolean {
  return readdirSync(target).some((name) => {
    const old = join(target, name, 'root.key');
    return name.startsWith('.replaced-') && existsSync(old) && readFileSync(old, 'utf8') === 'of before';
  });
}

test('a plan is carried out from wherever a restore was killed', async () => {
  const names = ['a', 'b', 'store'];
  const olds = ['b', 'old'];
  const aside = '.replaced-1';
  const plan = { v: 1, backup: backupId, aside, before: { data: olds, audit: [] }, cleared: false } as const;
  const steps: ((directory: string) => void)[] = [
    (directory) => mkdirSync(join(directory, aside), { mode: 0o700 }),
    ...olds.map(
      (name) => (directory: string) => renameSync(join(directory, name), join(directory, aside, name)),
    ),
    (directory) => writePlan(directory, { ...plan, before: { data: olds, audit: [] }, cleared: true }),
    ...names.map(
      (name) => (directory: string) => renameSync(join(stagingOf(directory), name), join(directory, name)),
    ),
  ];
  for (let killedAfter = 0; killedAfter <= steps.length; killedAfter++) {
    const directory = temporaryDirectory();
    mkdirSync(stagingOf(directory), { mode: 0o700 });
    for (const name of olds) writeFileSync(join(directory, name), `old ${name}`);
    for (const name of names) writeFileSync(join(stagingOf(directory), name), `new ${name}`);
    writeFileSync(join(stagingOf(directory), '.plan.5f0c.new'), 'half a plan');
    writePlan(directory, { ...plan, before: { data: [...olds], audit: [] } });
    for (const step of steps.slice(0, killedAfter)) step(directory);
    assert.equal(reasonOf(await restore(backup, directory)), 'ok', `${killedAfter}`);
    assert.deepEqual(readdirSync(directory).sort(), [aside, ...names].sort(), `${killedAfter}`);
    for (const name of names) assert.equal(readFileSync(join(directory, name), 'utf8'), `new ${name}`);
    for (const name of olds) assert.equal(readFileSync(join(directory, aside, name), 'utf8'), `old ${name}`);
  }
});

test('an interrupted restore is finished by its own backup and directories, and by no others', async () => {
  const place = temporaryDirectory();
  const directory = join(place, 'data');
  mkdirSync(stagingOf(directory), { recursive: true, mode: 0o700 });
  writeFileSync(join(stagingOf(directory), 'root.key'), 'new');
  const before = { data: [], audit: [] };
  writePlan(directory, { v: 1, backup: 'another', before, cleared: false });
  const other = await restore(backup, directory);
  assert.equal(reasonOf(other), 'restore_under_way');
  assert.match(
    other.ok ? '' : other.detail,
    new RegExp(`backup another .* is the backup ${backupId}: finish`),
  );
  assert.equal(reasonOf(await restore(place, directory)), 'source_unusable');
  writePlan(directory, { v: 1, backup: backupId, before, cleared: false });
  const targets = { dataDir: directory, auditDir: join(place, 'log') };
  assert.equal(reasonOf(await restore(backup, directory, { targets })), 'restore_under_way');
  assert.deepEqual(readdirSync(directory), ['.restoring'], 'what is to be finished is as it was');
  assert.deepEqual(done(await restore(backup, directory)), { kind: 'completed', backup: backupId });
  assert.deepEqual(readdirSync(directory), ['root.key']);
});
