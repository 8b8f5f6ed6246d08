import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test, { after, before } from 'node:test';
import { compileCache } from '../support/compile-cache.ts';
import { startInProcess } from '../support/in-process.ts';
import { dekConfig, startDekService } from '../support/serve-dek.ts';
import { type ListeningService, temporaryDirectory } from '../support/service.ts';

const root = join(import.meta.dirname, '..', '..');
let service: ListeningService;
let directory: string;
let env: Record<string, string | undefined>;

before(async () => {
  service = await startInProcess({ listen: true });
  directory = temporaryDirectory();
  writeFileSync(join(directory, 'token'), service.token);
  env = { PATH: process.env.PATH, HOME: directory, ...compileCache };
  env = { ...env, KMS_URL: service.url, KMS_TOKEN_FILE: join(directory, 'token') };
});

after(() => service.stop());

/** All blocks of one language, in their order. */
function blocksOf(page: string, language: string): string {
  const all = readFileSync(join(root, 'docs', page), 'utf8').matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm);
  return [...all].flatMap(([, found, block]) => (found === language ? [block] : [])).join('');
}

/** The service is in this process, so that nothing may wait for the child within it. */
async function run(command: string, ...args: string[]) {
  const child = spawn(command, args, { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = once(child, 'exit');
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
  return { status, stdout, stderr };
}

test('the JavaScript of docs/client.md runs as it stands', async () => {
  const client = join(root, 'src/client/index.ts');
  const file = join(directory, 'client.mjs');
  writeFileSync(file, blocksOf('client.md', 'js').replaceAll("'intaglio/client'", JSON.stringify(client)));
  const { status, stderr } = await run(process.execPath, file);
  assert.deepEqual([status, stderr], [0, '']);
});

test('the JavaScript of docs/library.md runs as it stands', async () => {
  const file = join(directory, 'library.mjs');
  const library = JSON.stringify(join(root, 'src/index.ts'));
  writeFileSync(file, blocksOf('library.md', 'js').replaceAll("'intaglio'", library));
  const { status, stdout, stderr } = await run(process.execPath, file);
  assert.deepEqual([status, stderr], [0, '']);
  assert.match(stdout, /^true\na small secret\nhello\n/);
});

test('the JavaScript of docs/dek.md runs as it stands', async (t) => {
  const own = temporaryDirectory();
  const kms = await startDekService(own, dekConfig(own, 'dek.yaml'));
  t.after(() => kms.process.stop());
  const file = join(directory, 'dek.mjs');
  const code = blocksOf('dek.md', 'js')
    .replaceAll("'intaglio/client'", JSON.stringify(join(root, 'src/client/index.ts')))
    .replaceAll("'intaglio'", JSON.stringify(join(root, 'src/index.ts')))
    .replace('/run/intaglio/dek.sock', join(own, 'run', 'dek.sock'));
  writeFileSync(file, code);
  const { status, stdout, stderr } = await run(process.execPath, file);
  assert.deepEqual([status, stdout, stderr], [0, 'hello\nada@example.org\n33\n', '']);
});

test('the example in Python runs, where there is a Python', async (context) => {
  const python = await run('python3', '--version').catch(() => undefined);
  if (python?.status !== 0) return context.diagnostic('there is no python3 here');
  const { status, stdout, stderr } = await run('python3', join(root, 'docs/examples/quick_start.py'));
  assert.equal(status, 0, stderr);
  assert.match(stdout, /#v1: ok\n$/);
});
