import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { call, startService, temporaryDirectory } from '../support/service.ts';

/** Nothing but what lets programs start, and sooner. */
const { PATH, NODE_COMPILE_CACHE = '' } = process.env;
const bare = { PATH, NODE_COMPILE_CACHE };
const program = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

test('SIGUSR1 opens no inspector, however the service was started', { timeout: 60_000 }, async () => {
  for (const program of [undefined, ['src/cli/main.ts', 'serve']]) {
    const service = await startService(program === undefined ? {} : { program });
    try {
      for (let n = 0; n < 3; n++) {
        process.kill(service.pid, 'SIGUSR1');
        assert.equal((await call(service, undefined, 'GET', '/healthz')).status, 200);
      }
      assert.doesNotMatch(service.errors(), /Debugger|ws:/);
    } finally {
      assert.equal(await service.stop(), 0);
    }
  }
});

const showing = [
  '--inspect=127.0.0.1:0',
  '--inspect-port=127.0.0.1:0',
  '--heapsnapshot-signal=SIGUSR2',
  '--heapsnapshot_signal=SIGUSR2',
  '--heapsnapshot-near-heap-limit=1',
  '--report-on-signal',
  '--report-on-fatalerror',
  '--report-uncaught-exception',
];

test('a flag in quotes, or in a file of options, refuses the start too', { timeout: 60_000 }, () => {
  const dataDir = temporaryDirectory();
  const file = join(dataDir, 'node.json');
  writeFileSync(file, JSON.stringify({ nodeOptions: { 'heapsnapshot-signal': 'SIGUSR2' } }));
  for (const [args, options] of [
    [[], '"--heapsnapshot-signal=SIGUSR2"'],
    [[], '"--report-on-signal"'],
    [[`--experimental-config-file=${file}`], ''],
  ] as const) {
    const ran = spawnSync(process.execPath, [...args, program, 'serve', '--bind', '127.0.0.1:0'], {
      encoding: 'utf8',
      timeout: 20_000,
      env: { ...bare, KMS_DATA_DIR: dataDir, NODE_OPTIONS: options },
    });
    assert.equal(ran.status, 1, ran.stderr);
    assert.match(ran.stderr, /shows this process's memory/);
  }
});

for (const flag of showing) {
  test(`${flag} refuses the start, as an argument and in NODE_OPTIONS`, { timeout: 60_000 }, () => {
    for (const [args, options] of [
      [[flag], ''],
      [[], flag],
    ] as const) {
      const ran = spawnSync(process.execPath, [...args, program, 'serve', '--bind', '127.0.0.1:0'], {
        encoding: 'utf8',
        timeout: 20_000,
        env: { ...bare, KMS_DATA_DIR: temporaryDirectory(), NODE_OPTIONS: options },
      });
      assert.equal(ran.status, 1, ran.stderr);
      assert.match(
        ran.stderr,
        new RegExp(
          `intaglio: Node's flag ${flag.split('=')[0]?.replaceAll('_', '-')} shows this process's memory`,
        ),
      );
    }
  });
}
