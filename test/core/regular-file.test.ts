import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { readRegularFile } from '../../src/core/private-file.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

test('only a regular file is read, at most 16 MiB of it: pipes, devices, directories and what is missing are told by a code', (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'file');
  writeFileSync(path, 'text');
  symlinkSync(path, join(directory, 'link'));
  assert.equal(readRegularFile(join(directory, 'link')).toString(), 'text');
  const pipe = join(directory, 'pipe');
  assert.equal(spawnSync('mkfifo', [pipe]).status, 0);
  symlinkSync('/dev/zero', join(directory, 'endless'));
  for (const [name, code] of [
    ['pipe', 'no regular file'],
    ['endless', 'no regular file'],
    ['.', 'EISDIR'],
    ['missing', 'ENOENT'],
  ] as const)
    assert.throws(() => readRegularFile(join(directory, name)), { code });
  truncateSync(path, 16 * 1024 * 1024 + 1);
  assert.throws(() => readRegularFile(path), { code: 'more than 16777216 bytes' });
});
