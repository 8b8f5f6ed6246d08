import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openSystemCalls } from '../../src/engine/system-calls.ts';

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
const built = existsSync(path('../../native/build/intaglio_native.node'));

test('whether the clock is synchronised is said with yes or no, or not at all', () => {
  const answer = openSystemCalls().clockSynchronised();
  assert.ok(answer === undefined || typeof answer === 'boolean');
  if (!built) assert.equal(answer, undefined);
});

test('forbidding core dumps makes the process undumpable, where the addon is', async (t) => {
  // The kernel gives the files under /proc of an undumpable process to root, which shows only for another user.
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  const readable = spawnSync('test', ['-r', path('../../src/engine/system-calls.ts')], user).status === 0;
  if (!readable) return t.skip('another user than root may not read this checkout');
  // In a process of its own: this one stays open to debuggers.
  const source = `
    import { openSystemCalls } from ${JSON.stringify(path('../../src/engine/system-calls.ts'))};
    import { statSync } from 'node:fs';
    const before = statSync('/proc/self/environ').uid;
    console.log(JSON.stringify({ done: openSystemCalls().forbidCoreDumps(), before, after: statSync('/proc/self/environ').uid }));`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '--eval', source],
    user,
  );
  const { done, before, after } = JSON.parse(stdout);
  assert.equal(done, built);
  assert.notEqual(before, 0);
  assert.equal(after === 0, built);
});

test('an end that hangs is cut off, with the status of the process, where the addon is', {
  skip: !built,
}, () => {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-test-'));
  const pipe = join(directory, 'pipe');
  execFileSync('mkfifo', [pipe]);
  // A thread of the pool waits for whoever writes into the pipe, and `process.exit` waits for the thread.
  const source = `
    import { limitExit } from ${JSON.stringify(path('../../src/cli/exit-limit.ts'))};
    import { open } from 'node:fs';
    limitExit(200);
    process.on('exit', () => process.stdout.write('the last line'));
    open(${JSON.stringify(pipe)}, 'r', () => {});
    setTimeout(() => process.exit(3), 100);`;
  const { status, stdout, signal } = spawnSync(process.execPath, ['--input-type=module', '--eval', source], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  rmSync(directory, { recursive: true });
  assert.deepEqual({ status, stdout, signal }, { status: 3, stdout: 'the last line', signal: null });
});
