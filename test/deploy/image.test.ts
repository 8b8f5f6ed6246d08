import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { parse } from 'yaml';
import manifest from '../../package.json' with { type: 'json' };
import { temporaryDirectory } from '../support/temporary-directory.ts';

const root = join(import.meta.dirname, '..', '..');
const lines = readFileSync(join(root, 'Dockerfile'), 'utf8').replaceAll('\\\n', ' ').split('\n');
const last = lines.slice(lines.findLastIndex((line) => line.startsWith('FROM ')));

function instruction(name: string): string {
  const line = last.findLast((entry) => entry.startsWith(`${name} `));
  assert.ok(line !== undefined, `the image has no ${name}`);
  return line.slice(name.length + 1).trim();
}

/** What the last stage copies, from the first stage or the context, as paths of the checkout. */
const copied = last
  .filter((line) => line.startsWith('COPY '))
  .flatMap((line) =>
    line
      .replace(/^COPY (--from=build )?/, '')
      .split(' ')
      .slice(0, -1),
  )
  .map((path) => path.replace('/opt/intaglio/', ''));

test('the image starts the service as npm start does, as a user by number', () => {
  const started = [...JSON.parse(instruction('ENTRYPOINT')), ...JSON.parse(instruction('CMD'))].join(' ');
  assert.equal(
    started.replaceAll('/opt/intaglio/', '').replace('node_modules/.bin/', ''),
    manifest.scripts.start,
  );
  assert.equal(instruction('USER'), '10001:10001');
});

test('no instruction brings a secret into a layer, and the context has nothing but what is named', () => {
  const named = lines.filter((line) => /^\s*(ENV|ARG)\b/.test(line)).join('\n');
  assert.doesNotMatch(named, /secret|token|password|passphrase|_KEY/i);
  const [all, ...allowed] = readFileSync(join(root, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  assert.equal(all, '*');
  assert.deepEqual(
    allowed.filter((line) => line.startsWith('!')).map((line) => line.slice(1)),
    ['LICENSE', 'package.json', 'package-lock.json', 'scripts', 'native', 'src', 'workers'],
  );
});

test('what the image copies is enough to serve and to be healthy', {
  timeout: 60_000,
}, async (context) => {
  const directory = temporaryDirectory(context);
  const tree = join(directory, 'intaglio');
  mkdirSync(join(tree, 'native'), { recursive: true });
  for (const path of copied) {
    assert.ok(existsSync(join(root, path)) || path === 'native/build', path);
    // The large ones are not copied here: packages and the addon are found through the link.
    if (['node_modules', 'native/build'].includes(path)) symlinkSync(join(root, path), join(tree, path));
    else cpSync(join(root, path), join(tree, path), { recursive: true });
  }
  const [program = '', ...args] = (JSON.parse(instruction('ENTRYPOINT')) as string[]).map((part) =>
    part.replace('/opt/intaglio', tree),
  );
  const service = spawn(program, [...args, 'serve'], {
    cwd: tree,
    env: { PATH: process.env.PATH, KMS_BIND: '127.0.0.1:0', KMS_AMNESIA: 'true' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  context.after(() => service.kill('SIGKILL'));
  const gone = once(service, 'exit');
  for await (const line of createInterface(service.stdout)) {
    const { msg, url } = JSON.parse(line) as { msg: string; url: string };
    if (msg !== 'listening') continue;
    const probe = (JSON.parse(instruction('HEALTHCHECK').replace(/^.*CMD /, '')) as string[]).map((part) =>
      part.replace('/opt/intaglio', tree).replace('http://127.0.0.1:7441', url),
    );
    const [checker = '', ...checked] = probe;
    const check = spawn(checker, checked, { env: { PATH: process.env.PATH }, stdio: 'ignore' });
    assert.deepEqual(await once(check, 'exit'), [0, null]);
    break;
  }
  service.kill('SIGTERM');
  assert.deepEqual(await gone, [0, null]);
});

test('the services of the compose file are confined, publish on loopback only, and mount files that are there', () => {
  const { services } = parse(readFileSync(join(root, 'deploy/compose.yaml'), 'utf8')) as {
    services: Readonly<
      Record<string, { ports: string[]; volumes: string[]; cap_drop: string[]; security_opt: string[] }>
    >;
  };
  assert.deepEqual(Object.keys(services), ['intaglio', 'prometheus', 'grafana']);
  for (const [name, { ports, volumes, cap_drop, security_opt }] of Object.entries(services)) {
    for (const port of ports) assert.match(port, /^127\.0\.0\.1:/, name);
    assert.deepEqual([cap_drop, security_opt], [['ALL'], ['no-new-privileges:true']], name);
    for (const volume of volumes.filter((entry) => entry.startsWith('.'))) {
      const [source = '', , mode] = volume.split(':');
      assert.ok(existsSync(join(root, 'deploy', source)), volume);
      assert.equal(mode, 'ro');
    }
  }
});
