import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { Cosigner } from '../../../src/audit/witness/cosigner.ts';
import { thresholdPolicy } from '../../../src/audit/witness/policy.ts';
import { intaglio } from '../../cli/intaglio.ts';
import { logSigners } from '../../support/audit-notes.ts';
import { decimals, MemoryTree } from '../../support/audit-trees.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';
import { keyOf, testOrigin } from './vectors.ts';

const program = join(import.meta.dirname, '..', '..', '..', 'src', 'cli', 'main.ts');

async function serve(context: TestContext, dir: string, log: string) {
  const child = spawn(
    process.execPath,
    [program, 'witness', 'serve', '--dir', dir, '--log', log, '--bind', '127.0.0.1:0'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  context.after(() => child.kill('SIGKILL'));
  const line = await new Promise<string>((resolve) => {
    child.stdout.setEncoding('utf8').once('data', resolve);
  });
  const stop = async () => {
    child.kill('SIGTERM');
    return ended;
  };
  return { url: JSON.parse(line).url as string, stop };
}

test('witness init makes keys once; witness serve cosigns, remembers over a restart, and stops with status 0', async (context) => {
  const directory = temporaryDirectory(context);
  const [dir, log] = [join(directory, 'witness'), join(directory, 'log.vkeys')];
  const made = await intaglio(['witness', 'init', '--name', 'witness.example/w1', '--dir', dir]);
  assert.equal(made.status, 0, made.stderr);
  assert.equal(statSync(join(dir, 'keys')).mode & 0o777, 0o600);
  assert.equal((await intaglio(['witness', 'init', '--name', 'other', '--dir', dir])).status, 1);
  assert.equal((await intaglio(['witness', 'vkeys', '--dir', dir])).stdout, made.stdout);
  const signers = logSigners();
  writeFileSync(log, signers.map(({ vkey }) => `${vkey}\n`).join(''));

  const [key] = made.stdout.trimEnd().split('\n').map(keyOf);
  const round = async (url: string, tree: MemoryTree) => {
    const policy = thresholdPolicy([{ name: 'w1', key: key!, url }], 1);
    assert.ok(policy.ok);
    const prove = () => ({ ok: true, value: [] }) as const;
    const cosigner = new Cosigner({ policy: policy.value, fail: 'closed', timeoutMs: 5_000, prove });
    const checkpoint = { origin: testOrigin, size: tree.size, root: tree.root() };
    return cosigner.cosign(await tree.checkpoint(testOrigin, signers), checkpoint);
  };
  const first = await serve(context, dir, log);
  assert.ok((await round(first.url, new MemoryTree(decimals(40)))).quorum);
  assert.equal(await first.stop(), 0);
  const second = await serve(context, dir, log);
  const older = await round(second.url, new MemoryTree(decimals(30)));
  assert.deepEqual([older.quorum, older.ahead], [false, { witness: 'w1', size: 40 }]);
  assert.equal(await second.stop(), 0);
});
