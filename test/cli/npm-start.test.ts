import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { compileCache } from '../support/compile-cache.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { intaglio } from './intaglio.ts';

const root = join(import.meta.dirname, '..', '..');
const program = join(root, 'src', 'cli', 'main.ts');

/** `npm start` as a script runner does it: a parent that ends on a signal and leaves its shell and the service behind. */
const runner = `
  const child = require('node:child_process').spawn('sh', ['-c', process.argv[1] + '; true'], { stdio: 'inherit' });
  child.on('exit', () => process.exit());
  process.on('SIGTERM', () => process.exit());
`;

const alive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test('a service that npm started ends with npm; a refused start names who holds the directory', {
  timeout: 60_000,
}, async (context) => {
  const dataDir = temporaryDirectory(context);
  const serve = [process.execPath, program, 'serve', '--bind', '127.0.0.1:0', '--data-dir', dataDir];
  const npm = spawn(process.execPath, ['-e', runner, serve.map((part) => `'${part}'`).join(' ')], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: {
      PATH: process.env.PATH,
      npm_lifecycle_event: 'start',
      npm_package_name: 'intaglio',
      ...compileCache,
    },
  });
  let pid: number | undefined;
  for await (const line of createInterface(npm.stdout)) {
    const entry = JSON.parse(line) as { msg: string; pid: number };
    if (entry.msg !== 'listening') continue;
    pid = entry.pid;
    break;
  }
  assert.ok(pid !== undefined && alive(pid));

  const [node = '', ...args] = serve;
  const second = spawnSync(node, args, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...compileCache },
  });
  assert.equal(second.status, 1);
  assert.match(second.stderr, new RegExp(`in use: process ${pid} holds it`));
  const check = await intaglio(['store', 'check', dataDir]);
  assert.match(check.stderr, new RegExp(`process ${pid} holds it`));

  npm.kill('SIGTERM');
  await once(npm, 'exit');
  while (alive(pid)) await new Promise((resolve) => setTimeout(resolve, 50));
});
