import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type TestContext } from 'node:test';
import { intaglio } from '../cli/intaglio.ts';
import { startInProcess } from '../support/in-process.ts';
import {
  call,
  callForBytes,
  helloWorldB3,
  type InProcessService,
  temporaryDirectory,
} from '../support/service.ts';

const program = 'src/cli/main.ts';

async function initWitness(dir: string): Promise<string[]> {
  const made = await intaglio(['witness', 'init', '--name', 'witness.example/w1', '--dir', dir]);
  return made.stdout.trim().split('\n');
}

async function serveWitness(context: TestContext, dir: string, log: string): Promise<string> {
  const serving = spawn(process.execPath, [
    program,
    'witness',
    'serve',
    '--dir',
    dir,
    '--log',
    log,
    '--bind',
    '127.0.0.1:0',
  ]);
  context.after(async () => {
    serving.kill('SIGTERM');
    await once(serving, 'exit');
  });
  for await (const line of createInterface(serving.stdout)) {
    const url = /http:\/\/[0-9.:]+/.exec(line)?.[0];
    if (url !== undefined) return url;
  }
  throw new Error('the witness does not serve');
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 50));
}

const sign = (service: InProcessService, kid: string) =>
  call(service, service.token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });

test('an older copy of everything is seen by a witness only, and then nothing is signed', {
  timeout: 60_000,
}, async (context) => {
  const place = temporaryDirectory();
  const dataDir = join(place, 'data');
  const first = await startInProcess({ dataDir });
  const made = await call(first, first.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  const { vkeys } = (await call(first, first.token, 'GET', '/v1/kms/audit/vkeys')).body;
  assert.equal(await first.stop(), 0);
  cpSync(dataDir, join(place, 'old'), { recursive: true });

  const logKeys = join(place, 'log.vkeys');
  writeFileSync(logKeys, `${vkeys.join('\n')}\n`);
  const witnessDir = join(place, 'witness');
  const [ed25519] = await initWitness(witnessDir);
  const url = await serveWitness(context, witnessDir, logKeys);
  const policy = join(place, 'policy');
  writeFileSync(policy, `witness w1 ${ed25519} ${url}\nquorum w1\n`);
  const env = { KMS_AUDIT_WITNESS_POLICY: policy };

  const second = await startInProcess({ dataDir, env });
  for (let n = 0; n < 10; n++) assert.equal((await sign(second, made.body.kid)).status, 200);
  await until(async () => {
    const { text: metrics } = await callForBytes(second, undefined, 'GET', '/metrics');
    return Number(/^kms_audit_witnessed_size (\d+)$/m.exec(metrics)?.[1]) >= 12;
  });
  assert.equal(await second.stop(), 0);

  rmSync(dataDir, { recursive: true });
  cpSync(join(place, 'old'), dataDir, { recursive: true });
  const wal = join(dataDir, 'audit', 'e1', 'wal', '00000000000000000000.wal');
  const old = readFileSync(wal);
  const third = await startInProcess({ dataDir, env });
  assert.equal((await call(third, undefined, 'GET', '/readyz')).status, 503);
  await third.logged((line) => line.includes('contradicted: witness w1 has cosigned'));
  const refused = await sign(third, made.body.kid);
  assert.equal(refused.body.error.code, 'AuditUnavailable');
  assert.deepEqual((await call(third, undefined, 'GET', '/readyz')).body.missing, ['audit_ready']);
  assert.equal(await third.stop(), 0);
  assert.deepEqual(readFileSync(wal), old, 'not even a first record was written');
});

test('a witness that cannot be reached at the start: closed does not sign, open does', async () => {
  const place = temporaryDirectory();
  const dataDir = join(place, 'data');
  const [ed25519] = await initWitness(join(place, 'witness'));
  const policy = join(place, 'policy');
  // The discard port: nobody listens.
  writeFileSync(policy, `witness w1 ${ed25519} http://127.0.0.1:9\nquorum w1\n`);
  const env = { KMS_AUDIT_WITNESS_POLICY: policy };
  const open = await startInProcess({ dataDir, env });
  const made = await call(open, open.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  assert.equal((await sign(open, made.body.kid)).status, 200);
  assert.equal(await open.stop(), 0);
  const closed = await startInProcess({ dataDir, env: { ...env, KMS_AUDIT_WITNESS_FAILURE: 'closed' } });
  assert.equal((await sign(closed, made.body.kid)).body.error.code, 'AuditUnavailable');
  assert.deepEqual((await call(closed, undefined, 'GET', '/readyz')).body.missing, ['audit_ready']);
  assert.equal(await closed.stop(), 0);
});
