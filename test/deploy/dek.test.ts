import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import { askSocket, dekConfig } from '../support/serve-dek.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const root = join(import.meta.dirname, '..', '..');

/** Until it listens, and until the end of the test. */
async function serving(t: TestContext, command: string, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
  });
  for await (const line of createInterface(child.stdout as NonNullable<typeof child.stdout>))
    if (line.includes('"listening"')) return child;
  throw new Error(`${command} ended`);
}

test("the unit's ExecStart line serves data encryption keys", async (t) => {
  const unit = readFileSync(join(root, 'deploy/systemd/intaglio-dek.service'), 'utf8');
  const [, line = ''] = /^ExecStart=(.*)$/m.exec(unit) ?? [];
  const directory = temporaryDirectory(t);
  dekConfig(directory, 'dek.yaml');
  const here = line
    .replaceAll('/opt/intaglio', root)
    .replaceAll('/run/intaglio-dek', join(directory, 'run'))
    .replaceAll('/var/lib/intaglio-dek', join(directory, 'data'))
    .replaceAll('$' + '{CREDENTIALS_DIRECTORY}', directory);
  const [command = '', ...args] = here.split(' ');
  await serving(t, command, args);
  const socket = join(directory, 'run', 'dek.sock');
  assert.equal((await askSocket(socket, '/deks', { key_id: 'k1' })).status, 201);
});

test('the script for developers makes a master key once, and serves with its flags', async (t) => {
  const directory = temporaryDirectory(t);
  const [socket, mkfile] = [join(directory, 's', 'dek.sock'), join(directory, 'dev.key')];
  const data = join(directory, 'data');
  const flags = ['--no-build', '--socket', socket, '--data-dir', data, '--mkfile', mkfile];
  await serving(t, join(root, 'scripts/dek/dev.sh'), flags);
  assert.match(readFileSync(mkfile, 'latin1'), /^[0-9a-f]{64}$/);
  assert.ok(existsSync(join(data, 'kms.db')));
  assert.equal((await askSocket(socket, '/create_dek_for_thread', { thread_id: 't' })).status, 200);
  const wrong = spawn(join(root, 'scripts/dek/dev.sh'), ['--nonsense'], { stdio: 'ignore' });
  const [status] = await once(wrong, 'exit');
  assert.equal(status, 2);
});
