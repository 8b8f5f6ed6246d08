import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
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
