import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { promisify } from 'node:util';
import { temporaryDirectory } from '../support/service.ts';

// The package as others get it. The short form unpacks it beside the packages of this checkout; with DRILL_INSTALL npm installs it
// into an empty project, from the registry.

const run = promisify(execFile);
const root = join(import.meta.dirname, '..', '..');
const installs = process.env.DRILL_INSTALL === '1';
/** The set-up of this machine may have put its own Node first. */
const env = { ...process.env, NODE_COMPILE_CACHE: undefined, npm_config_update_notifier: 'false' };

let project: string;
let files: readonly string[];

before(async () => {
  project = temporaryDirectory();
  writeFileSync(join(project, 'package.json'), '{"name":"empty","private":true,"type":"module"}');
  const packed = join(project, 'packed');
  mkdirSync(packed);
  // Packing writes dist/ and build.json, so it is done in a copy of what a checkout has.
  const copy = join(project, 'checkout');
  mkdirSync(copy);
  const { stdout: tracked } = await run('git', ['ls-files'], { cwd: root, maxBuffer: 8 * 2 ** 20 });
  for (const file of tracked.split('\n')) {
    if (!/^(src|workers|docs|deploy|scripts|native)\/|^[^/]+$/.test(file) || !existsSync(join(root, file)))
      continue;
    cpSync(join(root, file), join(copy, file));
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  await run('git', ['init', '-q'], { cwd: copy });
  const pack = ['pack', '--silent', '--pack-destination', packed];
  await run('npm', pack, { cwd: copy, env, maxBuffer: 8 * 2 ** 20 });
  const [tarball = ''] = readdirSync(packed);
  const { stdout } = await run('tar', ['tzf', join(packed, tarball)], { maxBuffer: 8 * 2 ** 20 });
  files = stdout.split('\n').filter((line) => line !== '');
  if (installs) {
    const install = ['install', '--no-audit', '--no-fund', join(packed, tarball)];
    await run('npm', install, { cwd: project, env, maxBuffer: 8 * 2 ** 20 });
    return;
  }
  mkdirSync(join(project, 'node_modules', 'intaglio'), { recursive: true });
  const into = join(project, 'node_modules', 'intaglio');
  await run('tar', ['xzf', join(packed, tarball), '--strip-components=1', '-C', into]);
  for (const name of readdirSync(join(root, 'node_modules'))) {
    const place = join(project, 'node_modules', name);
    if (!name.startsWith('.') && !existsSync(place)) symlinkSync(join(root, 'node_modules', name), place);
  }
});

async function script(name: string, text: string) {
  writeFileSync(join(project, name), text);
  return run(process.execPath, [join(project, name)], { cwd: project, env });
}

test('it holds the program and its pages, and no test, bench or source that Node would have to strip', () => {
  for (const needed of [
    'dist/src/index.js',
    'dist/src/index.d.ts',
    'dist/src/client/index.js',
    'dist/workers/crypto.js',
  ])
    assert.ok(files.includes(`package/${needed}`), needed);
  for (const needed of [
    'dist/browser/intaglio-verify.js',
    'docs/library.md',
    'native/Cargo.toml',
    'build.json',
  ])
    assert.ok(files.includes(`package/${needed}`), needed);
  const foreign = files.filter((file) => /\/(test|bench|perf-reports|node_modules)\//.test(file));
  assert.deepEqual(foreign, []);
  assert.deepEqual(
    files.filter((file) => /^package\/dist\/.*(?<!\.d)\.ts$/.test(file)),
    [],
  );
});

test('the library signs in an empty project, without a thread of its own', async () => {
  const { stdout } = await script(
    'library.mjs',
    `import { InMemoryKms, Kms, KmsError } from 'intaglio';
     const kms = await InMemoryKms.open();
     const { kid } = await kms.createKey({ purpose: 'p', alg: 'ml-dsa-65' });
     const payload = Buffer.from('hello');
     const { signatures } = await kms.sign({ kid, payload });
     console.log((await kms.verify({ payload, signatures })).valid, kms.engine.name, typeof Kms.open, KmsError.name);
     await kms.close();`,
  );
  assert.match(stdout, /^true (native|openssl) function KmsError\n$/);
});

test('neither the library nor the client loads uWebSockets.js, lmdb or piscina', async () => {
  const { stdout } = await script(
    'loaded.mjs',
    `import { registerHooks } from 'node:module';
     const loaded = new Set();
     registerHooks({ load(url, context, next) { loaded.add(url); return next(url, context); } });
     const { InMemoryKms } = await import('intaglio');
     const { KmsClient } = await import('intaglio/client');
     const kms = await InMemoryKms.open();
     const { kid } = await kms.createKey({ purpose: 'p', alg: 'ed25519' });
     await kms.sign({ kid, payload: Buffer.from('x') });
     await kms.close();
     const names = [...loaded].map((url) => /node_modules\\/((?:@[^/]+\\/)?[^/]+)(?!.*node_modules)/.exec(url)?.[1]);
     console.log(JSON.stringify([...new Set(names)].sort()), typeof KmsClient);`,
  );
  const [names = '[]'] = stdout.split(' ');
  assert.match(names, /undici/);
  assert.doesNotMatch(names, /uWebSockets|lmdb|piscina|pkcs11js|msgpackr/i);
});

test('no module is to be had but the two that it exports', async () => {
  const { stdout } = await script(
    'deep.mjs',
    `for (const name of ['intaglio/src/index.ts', 'intaglio/dist/src/service.js', 'intaglio/package.json'])
       await import(name).then(() => console.log('loaded', name), (error) => console.log(error.code));`,
  );
  assert.equal(stdout, 'ERR_PACKAGE_PATH_NOT_EXPORTED\n'.repeat(3));
});

test('its command runs, says its version, and which Node it needs', async () => {
  const { bin, version, engines } = JSON.parse(
    readFileSync(join(project, 'node_modules/intaglio/package.json'), 'utf8'),
  );
  const command = join(project, 'node_modules/intaglio', bin.intaglio);
  assert.equal(engines.node, '>=24');
  const { stdout: help } = await run(process.execPath, [command, '--help'], { cwd: project, env });
  assert.match(help, /npx intaglio serve/);
  const { stdout: told } = await run(process.execPath, [command, '--version'], { cwd: project, env });
  assert.equal(told.trim(), version);
  if (existsSync('/usr/bin/node')) {
    const { stdout: major } = await run('/usr/bin/node', ['-p', 'process.versions.node.split(".")[0]']);
    if (Number(major) >= 24) return;
    const old = await run('/usr/bin/node', [command, '--help'], { cwd: project }).catch((error) => error);
    assert.equal(old.code, 1);
    assert.match(old.stderr, /needs Node 24/);
  }
});

test('what imports it has types', { skip: installs ? false : 'npm run drill:package' }, async () => {
  writeFileSync(
    join(project, 'typed.ts'),
    `import { InMemoryKms, type MadeSignatures } from 'intaglio';
     import { KmsClient } from 'intaglio/client';
     export const made: Promise<MadeSignatures> = InMemoryKms.open().then((kms) => kms.sign({ kid: 'x', payload: new Uint8Array() }));
     // @ts-expect-error: there is no such option
     export const wrong = InMemoryKms.open({ nope: 1 });
     export const client = KmsClient;`,
  );
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')];
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--target', 'esnext'];
  const checked = await run(process.execPath, [compiler, ...options, ...types, 'typed.ts'], {
    cwd: project,
  }).catch((error) => error);
  assert.equal(checked.stdout, '');
});
