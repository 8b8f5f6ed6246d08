import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startFakeAws } from '../support/cloud/fake-aws.ts';
import { startInProcess } from '../support/in-process.ts';
import {
  call,
  helloWorldB3,
  type InProcessService,
  startService,
  temporaryDirectory,
} from '../support/service.ts';

// As test/faults/root-kill.test.ts, with a root key that a cloud KMS wraps: by the command of a stopped directory, and in a service
// that runs. Its processes load an SDK, so that a round takes seconds, and `npm run drill:root` alone does it.

const rounds = Number(process.env.DRILL_KILLS ?? 20);
const keys = Number(process.env.DRILL_KEYS ?? 200);
const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

interface RootReport {
  readonly generation: number;
  readonly root: string;
  readonly rotation?: object;
}

const post = (service: InProcessService, path: string, body: object) =>
  call(service, service.token, 'POST', `/v1/kms${path}`, body);

/** In a process: the engine of this one has another size. */
async function commandOf(args: readonly string[]) {
  const child = execFile(process.execPath, [program, 'root', ...args]);
  const exited = once(child, 'close') as Promise<[number]>;
  const [stdout, stderr] = await Promise.all([text(child.stdout!), text(child.stderr!)]);
  return { status: (await exited)[0], stdout, stderr };
}

/** Resolves at a moment of a rotation: its n-th call to the provider, or when the next key stands in the list; and a little later. */
async function moment(dataDir: string, seen: readonly unknown[], over: AbortSignal): Promise<void> {
  const list = () => readFileSync(join(dataDir, 'root-sources.json'), 'utf8');
  const [asked, listed] = [seen.length + Math.ceil(3 * Math.random()), list()];
  const byCall = Math.random() < 0.4;
  // Most of what comes then takes some hundredths of a second.
  const laterMs = Math.random() * (byCall ? 40 : 150);
  while (!over.aborted && (byCall ? seen.length < asked : list() === listed)) await delay(1);
  await delay(laterMs);
}

/** Runs the command; killed at a moment where `seen` is given. Resolves to its exit status, or undefined. */
async function rotateStopped(dataDir: string, seen?: readonly unknown[]): Promise<number | undefined> {
  const child = spawn(process.execPath, [program, 'root', 'rotate', '--data-dir', dataDir], {
    stdio: 'ignore',
  });
  const over = new AbortController();
  const exited = (once(child, 'exit') as Promise<[number | null]>).finally(() => over.abort());
  if (seen !== undefined) {
    await moment(dataDir, seen, over.signal);
    child.kill('SIGKILL');
  }
  return (await exited)[0] ?? undefined;
}

/** A service is killed at a moment after it was asked to rotate. */
async function rotateRunning(dataDir: string, seen: readonly unknown[]): Promise<void> {
  const service = await startService({ dataDir });
  const reached = moment(dataDir, seen, AbortSignal.timeout(60_000));
  const asked = call(service, service.token, 'POST', '/v1/kms/admin/root/rotate', {}).catch(() => {});
  await reached;
  await service.kill();
  await asked;
}

/** These keys sign; what was cut off goes on to its end. */
async function allSign(dataDir: string, kids: readonly string[]): Promise<RootReport> {
  const service = await startInProcess({ dataDir, tuning: { rootOverlapMs: 10 } });
  try {
    for (const kid of kids) {
      const { status } = await post(service, '/sign', { kid, payload_b3: helloWorldB3 });
      assert.equal(status, 200, kid);
    }
    for (;;) {
      const { body } = await call(service, service.token, 'GET', '/v1/kms/admin/root');
      if (body.rotation === undefined) return body;
      await delay(10);
    }
  } finally {
    assert.equal(await service.stop(), 0);
  }
}

test('a rotation by way of a cloud KMS that is killed at any moment loses no root key, and goes on', {
  timeout: 60_000 + rounds * 30_000,
}, async (t) => {
  const fake = await startFakeAws();
  t.after(() => fake.close());
  const { key, endpoint = '' } = await fake.newKey();
  // What is started here has the environment of this file, which is a process of its own.
  Object.assign(process.env, {
    ...{ AWS_ACCESS_KEY_ID: 'AKIAFAKE', AWS_SECRET_ACCESS_KEY: fake.credential },
    ...{ AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' },
  });
  const dataDir = join(temporaryDirectory(), 'data');
  const command = (...args: string[]) => commandOf([...args, '--data-dir', dataDir]);
  const made = await command('init', '--aws-kms', key, '--endpoint', endpoint);
  assert.equal(made.status, 0, made.stderr);
  const service = await startInProcess({ dataDir });
  const kids: string[] = [];
  for (let n = 0; n < keys; n++)
    kids.push((await post(service, '/keys', { purpose: 'test', alg: 'ed25519' })).body.kid);
  assert.equal(await service.stop(), 0);
  let generation = 1;
  let killed = 0;
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      if ((await rotateStopped(dataDir, fake.seen)) === undefined) killed++;
    } else {
      await rotateRunning(dataDir, fake.seen);
      killed++;
    }
    const cutOff = await command('status');
    assert.equal(cutOff.status, 0, cutOff.stdout);
    assert.ok(!cutOff.stdout.includes('DOES NOT OPEN'), cutOff.stdout);
    const now = await allSign(dataDir, round === rounds - 1 ? kids : kids.slice(0, 10));
    assert.ok(now.generation >= generation, `${now.generation} after ${generation}`);
    ({ generation } = now);
    const { status, stdout } = await command('status');
    assert.equal(status, 0, stdout);
    assert.ok(stdout.includes(now.root) && stdout.includes(`generation ${generation}`), stdout);
    const list = readFileSync(join(dataDir, 'root-sources.json'), 'utf8');
    const listed = (JSON.parse(list) as { sources: { root: string; generation: number }[] }).sources;
    assert.ok(listed.some((source) => source.root === now.root && source.generation === generation));
    // Of a rotation that did not come to begin there may be a second one, which the next replaces.
    assert.ok(listed.length <= 2);
  }
  t.diagnostic(`${killed} of ${rounds} rotations were killed; generation ${generation}`);
  assert.equal(await rotateStopped(dataDir), 0);
  assert.equal((await allSign(dataDir, kids)).generation, generation + 1);
});
