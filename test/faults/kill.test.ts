import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';
import { inspect, retryNamed } from './inspection.ts';
import { Ledger } from './ledger.ts';
import { runLoad } from './load.ts';
import { createRandom, type Random } from './random.ts';
import { startFor } from './start-for.ts';

/** A few rounds in every run of the suite; `npm run drill:kill` has 20 of 500 changes. */
const rounds = Number(process.env.DRILL_ROUNDS ?? 3);
const changes = Number(process.env.DRILL_CHANGES ?? 120);
const clients = 8;
const firstStarts = Math.ceil(rounds / 2);

test('every acknowledged change survives kill -9, and none is half there', async (context) => {
  const random = seeded(context);
  const startedAt = performance.now();
  const dataDir = temporaryDirectory();
  const ledger = new Ledger();
  let service = await startFor(context, { dataDir });
  for (let round = 0; round < rounds; round++) {
    const { token } = service;
    const victim = service;
    let killed: Promise<void> | undefined;
    await runLoad({
      ...{ service, token, ledger, random, changes, clients },
      // With all clients busy, about this many changes are under way at any moment.
      moment: 1 + random.below(changes - clients),
      onMoment: () => {
        killed = sleep(random.below(4)).then(() => victim.kill());
      },
    });
    assert.ok(killed !== undefined);
    await killed;

    service = await startFor(context, { dataDir });
    const after = { service, token, ledger };
    await inspect(after);
    await retryNamed(after);
  }
  await inspect({ service, token: service.token, ledger });
  assert.equal(await service.stop(), 0);
  const { create, rotate, destroy } = ledger.acknowledged;
  context.diagnostic(
    `${service.engine}: ${rounds} kills; acknowledged ${create + rotate + destroy} changes (${create} created, ${rotate} rotated, ` +
      `${destroy} destroyed), ${ledger.unanswered} cut off, ${ledger.signatures} signatures, ${ledger.keys.size} keys; ` +
      `${((performance.now() - startedAt) / 1000).toFixed(0)} s`,
  );
});

test('a first start that is killed at any moment leaves nothing in the way of the next one', async (context) => {
  const random = seeded(context);
  for (let round = 0; round < firstStarts; round++) {
    const dataDir = temporaryDirectory();
    await killWhenItMakes(random.pick(firstFiles), dataDir);
    const service = await startFor(context, { dataDir });
    const made = await call(service, service.token, 'POST', '/v1/kms/keys', {
      purpose: 'drill',
      alg: 'ed25519',
    });
    assert.equal(made.status, 201);
    const signed = await call(service, service.token, 'POST', '/v1/kms/sign', {
      kid: made.body.kid,
      payload_b3: helloWorldB3,
    });
    assert.equal(signed.status, 200);
    assert.equal(await service.stop(), 0);
  }
});

/** In the order in which a first start makes them. */
const firstFiles = ['store', 'store/data.mdb', 'root.key', 'bootstrap.token', 'macaroon.key'];

/** Starts the service and kills it as soon as this file is seen, written or not. */
async function killWhenItMakes(file: string, dataDir: string): Promise<void> {
  const child = spawn(process.execPath, ['src/cli/main.ts', 'serve'], {
    env: { ...process.env, KMS_BIND: '127.0.0.1:0', KMS_DATA_DIR: dataDir },
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    stdio: 'ignore',
  });
  const gone = once(child, 'exit');
  const path = join(dataDir, file);
  // A turn of the event loop each would take a processor from the child.
  while (!existsSync(path)) await sleep(1);
  child.kill('SIGKILL');
  await gone;
}

function seeded(context: TestContext): Random {
  const seed = Number(process.env.DRILL_SEED ?? Math.floor(Math.random() * 2 ** 32));
  context.diagnostic(`DRILL_SEED=${seed}`);
  return createRandom(seed);
}
