import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const command = fileURLToPath(new URL('../../bench/simulator/main.ts', import.meta.url));
const run = (...args: string[]) => spawnSync(process.execPath, [command, ...args], { encoding: 'utf8' });

test('the command prints a table and writes the same JSON for the same seed', () => {
  const directory = mkdtempSync(join(tmpdir(), 'simulator-'));
  try {
    const texts = ['first', 'second'].map((name) => {
      const file = join(directory, name);
      const small = ['--scenario', 'overload', '--cores', '2', '--tenants', '40', '--rate', '20000'];
      const { status, stdout } = run(
        ...small,
        '--seconds',
        '0.1',
        '--warm-up',
        '0',
        '--seed',
        '9',
        '--json',
        file,
      );
      assert.equal(status, 0);
      assert.match(stdout, /of fair part/);
      return readFileSync(file, 'utf8');
    });
    assert.equal(texts[0], texts[1]);
    assert.equal(JSON.parse(texts[0] as string).options.seed, 9);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('the command refuses what it does not know or cannot take, and shows examples', () => {
  for (const args of [
    ['--core', '4'],
    ['--cores', '0'],
    ['--cores', '4x'],
    ['--scenario', 'none'],
    ['stray'],
  ]) {
    const { status, stderr } = run(...args);
    assert.equal(status, 1, args.join(' '));
    assert.match(stderr, /--help/);
  }
  const { status, stdout } = run('--help');
  assert.equal(status, 0);
  assert.match(stdout, /Examples:/);
});
