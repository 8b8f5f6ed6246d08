import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import manifest from '../../package.json' with { type: 'json' };
import { compileCache } from '../support/compile-cache.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const root = join(import.meta.dirname, '..', '..');
const unit = readFileSync(join(root, 'deploy/systemd/intaglio.service'), 'utf8');

function valuesOf(name: string): string[] {
  return unit
    .split('\n')
    .filter((line) => line.startsWith(`${name}=`))
    .map((line) => line.slice(name.length + 1));
}

function has(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

/** A datagram socket, which Node has not: each datagram as a line of JSON. */
const datagrams = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print(json.dumps("bound"), flush=True)
while True:
    print(json.dumps(s.recv(4096).decode()), flush=True)
`;

async function manager(socket: string) {
  const child = spawn('python3', ['-c', datagrams, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async () => {
    const { done, value } = await lines.next();
    assert.ok(done !== true, 'the datagram socket is gone');
    return JSON.parse(value) as string;
  };
  assert.equal(await next(), 'bound');
  return {
    next,
    /** The next one that begins like that; others, such as BARRIER=1, are passed over. */
    async told(beginning: string): Promise<string> {
      for (;;) {
        const text = await next();
        if (text.startsWith(beginning)) return text;
      }
    },
    close: () => child.kill(),
  };
}

test('the unit starts the service as npm start does', () => {
  const [line] = valuesOf('ExecStart');
  const asNpm = manifest.scripts.start.replace('node ', '/opt/intaglio/node_modules/.bin/node ');
  assert.equal(line, asNpm.replace('src/cli', '/opt/intaglio/src/cli'));
});

test('systemctl reload sends the signal on which the service reads its settings again', () => {
  assert.deepEqual(valuesOf('ExecReload'), ['/bin/kill -HUP $MAINPID']);
});

test('the unit confines the service', () => {
  const settings: Readonly<Record<string, string>> = {
    ...{ Type: 'notify', NoNewPrivileges: 'yes', ProtectSystem: 'strict', CapabilityBoundingSet: '' },
    ...{ LimitCORE: '0', LimitMEMLOCK: '64M', StateDirectoryMode: '0700', UMask: '0077' },
  };
  for (const [name, value] of Object.entries(settings)) assert.deepEqual(valuesOf(name), [value], name);
  assert.deepEqual(valuesOf('LoadCredential'), ['root.key:/etc/intaglio/root.key']);
});

for (const name of ['intaglio.service', 'intaglio-dek.service'])
  test(`systemd accepts the unit ${name}`, {
    skip: !has('systemd-analyze', '--version') && 'no systemd here',
  }, (context) => {
    // The paths of this checkout, because systemd looks for the programs.
    const file = join(temporaryDirectory(context), name);
    const text = readFileSync(join(root, 'deploy/systemd', name), 'utf8');
    writeFileSync(file, text.replaceAll('/opt/intaglio', root).replace(/^(User|Group)=.*$/gm, '$1=root'));
    const { status, stderr, error } = spawnSync(
      'systemd-analyze',
      ['verify', '--man=no', '--generators=no', '--recursive-errors=one', file],
      { encoding: 'utf8' },
    );
    assert.equal(error, undefined);
    const ours = stderr.split('\n').filter((line) => line.includes(name));
    assert.deepEqual([status, ours], [0, []], stderr);
  });

test('the line ExecStart, in the environment of the unit, serves and tells the service manager', {
  skip:
    !(has('python3', '--version') && has('systemd-notify', '--version')) &&
    'no python3, or no systemd-notify',
  timeout: 60_000,
}, async (context) => {
  const directory = temporaryDirectory(context);
  const credentials = join(directory, 'credentials');
  const state = join(directory, 'state');
  for (const made of [credentials, join(state, 'intaglio')])
    mkdirSync(made, { recursive: true, mode: 0o700 });
  writeFileSync(join(credentials, 'root.key'), Buffer.alloc(32, 7), { mode: 0o400 });
  const socket = join(directory, 'notify');
  const systemd = await manager(socket);
  context.after(systemd.close);

  const specifiers = (text: string) => text.replaceAll('%S', state).replaceAll('%d', credentials);
  const environment = valuesOf('Environment').map((line) => specifiers(line).split('=') as [string, string]);
  const [program = '', ...args] = (valuesOf('ExecStart')[0] ?? '')
    .replaceAll('/opt/intaglio', root)
    .split(' ');
  const service = spawn(program, args, {
    env: {
      ...{ PATH: process.env.PATH, NOTIFY_SOCKET: socket, KMS_BIND: '127.0.0.1:0' },
      ...compileCache,
      ...Object.fromEntries(environment),
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const gone = once(service, 'exit');
  context.after(() => service.kill('SIGKILL'));
  const ready = await systemd.told('READY=1');
  const url = /^STATUS=serves (http:\S+)$/m.exec(ready)?.[1];
  assert.ok(url !== undefined, ready);
  assert.equal((await fetch(`${url}/readyz`)).status, 200);
  assert.ok(existsSync(join(state, 'intaglio', 'store', 'data.mdb')));
  assert.ok(!existsSync(join(state, 'intaglio', 'root.key')), 'the root key is the credential');
  service.kill('SIGTERM');
  assert.equal(await systemd.told('STOPPING=1'), 'STOPPING=1');
  assert.deepEqual(await gone, [0, null]);
});
