import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

const watched = new URL('../../src/core/process/parent.ts', import.meta.url).href;
/** Its main thread is held up for good, as by a library that hangs. */
const child = `
import { endWithParent } from ${JSON.stringify(watched)};
endWithParent();
setTimeout(() => { console.log(process.pid); for (;;); }, 50);
`;
const parent = `
import { spawn } from 'node:child_process';
spawn(process.execPath, ['--input-type=module', '-e', ${JSON.stringify(child)}], { stdio: ['ignore', 'inherit', 'inherit'] });
setInterval(() => {}, 1_000);
`;

test('a process whose main thread hangs ends with its parent, and not before', async (t) => {
  const running = spawn(process.execPath, ['--input-type=module', '-e', parent], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => running.kill('SIGKILL'));
  const [line] = (await once(createInterface(running.stdout), 'line')) as [string];
  const pid = Number(line);
  t.after(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  await delay(1_200);
  assert.ok(isAlive(pid), 'its parent is there');
  running.kill('SIGKILL');
  for (let waited = 0; waited < 600 && isAlive(pid); waited++) await delay(50);
  assert.ok(!isAlive(pid));
});

/** False of one that has ended and is not yet waited for. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
