import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { openCapabilityKeys } from '../../src/auth/macaroon/root-key.ts';
import { compileCache } from '../support/compile-cache.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { intaglio } from './intaglio.ts';

const root = join(import.meta.dirname, '..', '..');
const mint = ['token', 'mint', '--tenant', 'acme', '--scope', 'kms:sign'];
const version = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }).version;

test('a capability that nobody could use is not made', async (context) => {
  const dataDir = temporaryDirectory(context);
  assert.ok(openCapabilityKeys({ dataDir, amnesia: false, secretRule: { groupAllowed: false } }).ok);
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [['--expires', '0s'], /not in the future/],
    [['--expires', '2020-01-01T00:00:00Z'], /not in the future/],
    [['--not-before', '2h', '--expires', '1h'], /not before --expires/],
    [['--not-before', '1h', '--expires', '1h'], /not before --expires/],
  ];
  for (const [options, why] of cases) {
    const { status, stdout, stderr } = await intaglio([...mint, ...options, '--data-dir', dataDir]);
    assert.deepEqual([status, stdout], [1, ''], options.join(' '));
    assert.match(stderr, why);
  }
});

test('an option that is given twice is refused, whatever its values', async () => {
  const twice = await intaglio([...mint, '--tenant', 'globex']);
  assert.equal(twice.status, 1);
  assert.match(twice.stderr, /--tenant is given twice/);
});

test('attenuation to an expiry of never is refused, as it takes nothing away', async () => {
  const { status, stderr } = await intaglio(['token', 'attenuate', '--expires', 'never'], { input: 'x' });
  assert.equal(status, 1);
  assert.match(stderr, /takes nothing away/);
});

test('the version is that of the package', async () => {
  const { status, stdout } = await intaglio(['--version']);
  assert.deepEqual([status, stdout], [0, `${version}\n`]);
});

/** By a shell, which has the redirections and limits of one. */
function shell(line: string, dataDir: string) {
  const command = `${JSON.stringify(process.execPath)} ${JSON.stringify(join(root, 'src/cli/main.ts'))}`;
  return spawnSync(
    'bash',
    ['--norc', '-c', line.replaceAll('INTAGLIO', command).replaceAll('DATA', dataDir)],
    {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, ...compileCache },
    },
  );
}

const mintLine = `INTAGLIO ${mint.join(' ')} --data-dir DATA`;

test('what cannot be written, or read, is one line and no stack', async (context) => {
  const dataDir = temporaryDirectory(context);
  assert.ok(openCapabilityKeys({ dataDir, amnesia: false, secretRule: { groupAllowed: false } }).ok);
  const full = shell(`${mintLine} > /dev/full`, dataDir);
  assert.equal(full.status, 1);
  assert.match(full.stderr, /^intaglio: .*ENOSPC\n$/);

  const gone = shell(`${mintLine} | true; echo \${PIPESTATUS[0]}`, dataDir);
  // A pipe that takes the token before it is closed is no failure.
  assert.match(gone.stdout, /^(0|141)\n$/);
  assert.equal(gone.stderr, '');

  const few = shell(`ulimit -n 32; ${mintLine} > /dev/null`, dataDir);
  if (few.status !== 0) assert.match(few.stderr, /^(intaglio: [^\n]*\n)+$/);
  assert.doesNotMatch(few.stderr, /\n {4}at /);
});

const addon = join(root, 'native', 'build', 'intaglio_native.node');

test('a service that cannot start ends, whatever one of its threads waits for', {
  skip: !existsSync(addon) && 'only with the native addon an end has a limit',
}, (context) => {
  const directory = temporaryDirectory(context);
  const pipe = join(directory, 'pipe');
  // Nobody writes into it, so whoever opens it waits, and the end of a process for whoever waits.
  const waits = `data:text/javascript,import{open}from'node:fs';open('${pipe}','r',()=>{})`;
  const { status, stderr } = shell(
    `mkfifo ${pipe}; NODE_OPTIONS="--import ${waits}" timeout 120 INTAGLIO serve --data-dir /dev/null`,
    directory,
  );
  assert.equal(status, 1);
  assert.match(stderr, /^intaglio: .*\/dev\/null/);
});
