import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { suite, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { isLocked, takeLock } from '../../scripts/setup/lock.js';

function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'intaglio-lock-'));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

const unexpected = (): never => assert.fail('nobody else is at work');

suite('the lock of the set-up', () => {
  test('is held until it is given back, and then gone', async (context) => {
    const folder = temporaryFolder(context);
    const path = join(folder, 'below', 'setup.lock');
    assert.equal(isLocked(path), false);
    const release = await takeLock(path, unexpected);
    assert.equal(isLocked(path), true);
    release();
    assert.deepEqual(readdirSync(join(folder, 'below')), []);
  });

  test('of a process that is gone is taken over', async (context) => {
    const path = join(temporaryFolder(context), 'setup.lock');
    const gone = execFileSync(process.execPath, ['-p', 'process.pid'], { encoding: 'utf8' });
    writeFileSync(path, gone);
    assert.equal(isLocked(path), false);
    const release = await takeLock(path, unexpected);
    assert.equal(Number(readFileSync(path, 'utf8')), process.pid);
    release();
    assert.equal(existsSync(path), false);
  });

  test('lets in one of several processes at a time, also when the one before died with it', async (context) => {
    const folder = temporaryFolder(context);
    const worker = `
      import { appendFileSync } from 'node:fs';
      import { setTimeout as sleep } from 'node:timers/promises';
      import { takeLock } from ${JSON.stringify(new URL('../../scripts/setup/lock.js', import.meta.url).href)};
      const release = await takeLock('setup.lock', () => {});
      appendFileSync('seen', 'in\\n');
      await sleep(20);
      appendFileSync('seen', 'out\\n');
      if (process.argv[1] === 'die') process.kill(process.pid, 'SIGKILL');
      release();
    `;
    const run = (fate: string) =>
      promisify(execFile)(process.execPath, ['--input-type=module', '-e', worker, fate], {
        cwd: folder,
      }).catch((error: { signal: string }) => assert.equal(error.signal, 'SIGKILL'));
    await Promise.all(['live', 'die', 'live', 'die', 'live', 'live'].map(run));
    const seen = readFileSync(join(folder, 'seen'), 'utf8');
    assert.equal(seen, 'in\nout\n'.repeat(6));
  });
});
