import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { intaglio } from './intaglio.ts';

test('config check says whether the service would start', async () => {
  const [good, bad] = await Promise.all([
    intaglio(['config', 'check', '--bind', '127.0.0.1:0', '--amnesia']),
    intaglio(['config', 'check', '--wokers', '3'], { env: { KMS_QUEUE_TOTAL: 'many' } }),
  ]);
  assert.deepEqual(good, { status: 0, stdout: 'the configuration is valid\n', stderr: '' });
  assert.deepEqual([bad.status, bad.stdout], [1, '']);
  assert.match(bad.stderr, /unknown flag --wokers; did you mean --workers\?/);
  assert.match(bad.stderr, /KMS_QUEUE_TOTAL must be a whole number from 1 to 1048576/);
});

for (const flags of [
  [],
  ['--amnesia'],
  ['--profile', 'micronode'],
  ['--audit-retention', '7y'],
  ['--bind', '[::1]:0', '--allowed-algs', 'ed25519,ml-dsa-65'],
]) {
  test(`what config print ${flags.join(' ')} prints is a file that gives the same settings`, async (context) => {
    const file = join(temporaryDirectory(context), 'settings.json');
    const first = await intaglio(['config', 'print', ...flags]);
    assert.deepEqual([first.status, first.stderr], [0, '']);
    writeFileSync(file, first.stdout);
    const second = await intaglio(['config', 'print', '--config', file]);
    assert.deepEqual(second, first);
  });
}

test('config print --origins tells where each setting comes from', async () => {
  const { stdout } = await intaglio(['config', 'print', '--origins', '--workers', '2'], {
    env: { RON_KMS_LOG_LEVEL: 'warn' },
  });
  assert.match(stdout, /^KMS_WORKERS +2 {2}\(flag\)$/m);
  assert.match(stdout, /^KMS_LOG_LEVEL +warn {2}\(environment\)$/m);
  assert.match(stdout, /^KMS_BIND +127\.0\.0\.1:7441 {2}\(default\)$/m);
});

test('config print --help lists every flag', async () => {
  const { status, stdout } = await intaglio(['config', 'print', '--help']);
  assert.equal(status, 0);
  for (const flag of ['--bind', '--data-dir', '--allowed-algs', '--log-level'])
    assert.ok(stdout.includes(flag));
});

test('an unknown command names the nearest one', async () => {
  const { status, stdout, stderr } = await intaglio(['tokn']);
  assert.deepEqual([status, stdout], [1, '']);
  assert.match(stderr, /Did you mean token\?/);
});

test('config explain says of one setting what it means and what it comes to, however it is spelled', async () => {
  const outcomes = await Promise.all(
    ['KMS_WORKERS', 'RON_KMS_WORKERS', '--workers', 'workers'].map((spelling) =>
      intaglio(['config', 'explain', spelling, '--workers', '2']),
    ),
  );
  for (const { status, stdout } of outcomes) {
    assert.equal(status, 0);
    assert.match(stdout, /^setting +KMS_WORKERS, --workers, workers in a file$/m);
    assert.match(stdout, /^here +2 {2}\(flag\)$/m);
    assert.match(stdout, /Threads that do the cryptography/);
  }
  const unknown = await intaglio(['config', 'explain', 'KMS_WOKERS']);
  assert.deepEqual([unknown.status, unknown.stdout], [1, '']);
  assert.match(unknown.stderr, /did you mean KMS_WORKERS\?/);
  const elsewhere = await intaglio(['config', 'explain', 'workers'], { env: { KMS_ENGINE: 'nativ' } });
  assert.match(elsewhere.stdout, /^here +not settled/m);
});

test('config migrate writes a file in its place only where something is to be renamed', async (context) => {
  const file = join(temporaryDirectory(context), 'settings.yaml');
  writeFileSync(file, 'workers: 7 # ours\n');
  const shown = await intaglio(['config', 'migrate', file]);
  assert.deepEqual(shown, {
    status: 0,
    stdout: 'workers: 7 # ours\n',
    stderr: 'intaglio: nothing is to be renamed\n',
  });
  assert.equal((await intaglio(['config', 'migrate', file, '--write'])).stdout, '');
  assert.equal(readFileSync(file, 'utf8'), 'workers: 7 # ours\n');
  const print = await intaglio(['config', 'print', '--config', file, '--origins']);
  assert.match(print.stdout, /^KMS_WORKERS +7 {2}\(file\)$/m);
  writeFileSync(file, 'workers: [7');
  assert.equal((await intaglio(['config', 'migrate', file])).status, 1);
});
