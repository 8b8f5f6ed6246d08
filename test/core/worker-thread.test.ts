import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';

const module = join(import.meta.dirname, '..', '..', 'src', 'core', 'process', 'worker-thread.ts');
const root = process.getuid?.() === 0;

test('a process that gives way already goes on to, and is not refused', {
  skip: process.platform !== 'linux' || !root ? 'needs Linux, and root to become another user' : false,
}, () => {
  const program = `
    const { giveWay } = await import(${JSON.stringify(module)});
    const { getPriority, setPriority } = await import('node:os');
    setPriority(10);
    process.setgid(65534); process.setuid(65534);
    giveWay(5); const first = getPriority();
    giveWay(12); console.log(first, getPriority());`;
  const flags = ['--input-type=module', '-e', program];
  const { stdout, stderr } = spawnSync(process.execPath, flags, { encoding: 'utf8' });
  assert.equal(stdout, '10 12\n', stderr);
});
