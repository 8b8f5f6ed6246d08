import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';

// The root key of a stopped directory is rotated by a process that is killed at a random moment, again and again; between two
// kills the directory serves, and every key of it signs. `npm run drill:root` does it a hundred times.

const rounds = Number(process.env.DRILL_KILLS ?? 2);
const keys = Number(process.env.DRILL_KEYS ?? 150);
const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

const post = (service: InProcessService, path: string, body: object) =>
  call(service, service.token, 'POST', `/v1/kms${path}`, body);

/** Runs the command; killed after so long. Resolves to its exit status, or undefined. */
async function rotate(dataDir: string, killAfterMs?: number): Promise<number | undefined> {
  const child = spawn(process.execPath, [program, 'root', 'rotate', '--data-dir', dataDir], {
    stdio: 'ignore',
  });
  const exited = once(child, 'exit') as Promise<[number | null]>;
  if (killAfterMs !== undefined) {
    await Promise.race([delay(killAfterMs), exited]);
    child.kill('SIGKILL');
  }
  return (await exited)[0] ?? undefined;
}

async function allSign(dataDir: string, kids: readonly string[]): Promise<number> {
  const service = await startInProcess({ dataDir, tuning: { rootOverlapMs: 10 } });
  try {
    for (const kid of kids) {
      const { status } = await post(service, '/sign', { kid, payload_b3: helloWorldB3 });
      assert.equal(status, 200, kid);
    }
    const root = await call(service, service.token, 'GET', '/v1/kms/admin/root');
    return root.body.generation;
  } finally {
    assert.equal(await service.stop(), 0);
  }
}

test('a rotation of the root key that is killed at any moment loses nothing, and goes on', {
  timeout: 60_000 + rounds * 20_000,
}, async (t) => {
  const dataDir = temporaryDirectory();
  const service = await startInProcess({ dataDir });
  const kids: string[] = [];
  for (let n = 0; n < keys; n++) {
    const alg = n % 3 === 0 ? 'ecdsa-p256' : n % 3 === 1 ? 'ml-dsa-44' : 'ed25519';
    kids.push((await post(service, '/keys', { purpose: 'test', alg })).body.kid);
  }
  assert.equal(await service.stop(), 0);
  const startedAt = performance.now();
  assert.equal(await rotate(dataDir), 0);
  const wholeMs = performance.now() - startedAt;
  let killed = 0;
  let generation = 2;
  for (let round = 0; round < rounds; round++) {
    // Its process takes most of the time to begin, and a moment of the rest is as good as any other.
    const status = await rotate(dataDir, wholeMs * (0.4 + 0.65 * Math.random()));
    if (status === undefined) killed++;
    const some = kids.filter((_, n) => (n + round) % 5 === 0);
    const now = await allSign(dataDir, some);
    assert.ok(now >= generation, `${now} after ${generation}`);
    generation = now;
  }
  t.diagnostic(`${killed} of ${rounds} rotations were killed; generation ${generation}`);
  assert.equal(await rotate(dataDir), 0);
  assert.ok((await allSign(dataDir, kids)) > generation);
});
