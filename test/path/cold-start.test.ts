import assert from 'node:assert/strict';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';

test('a second start finds everything made, makes nothing, and serves the keys of the first', async (context) => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  context.after(() => first.stop());
  assert.ok(messages(first).some((message) => message.startsWith('MADE A NEW ROOT KEY')));
  const made = await post(first, '/v1/kms/keys', { purpose: 'p', alg: 'ed25519+ml-dsa-65' });
  assert.equal(made.status, 201);
  const request = { kid: made.body.kid, payload_b3: helloWorldB3 };
  const signed = await post(first, '/v1/kms/sign', request);
  assert.equal(signed.status, 200);
  assert.equal(await first.stop(), 0);
  const before = keyFiles(dataDir);

  const second = await startInProcess({ dataDir });
  context.after(() => second.stop());
  assert.ok(messages(second).every((message) => !message.startsWith('MADE')));
  assert.deepEqual(keyFiles(dataDir), before, 'no key or capability is made or written again');
  assert.equal(second.token, first.token);
  // The first look-up of this process comes from the store.
  assert.equal((await post(second, '/v1/kms/sign', request)).status, 200);
  const verified = await post(second, '/v1/kms/verify', { payload_b3: helloWorldB3, sigs: signed.body.sigs });
  assert.equal(verified.body.ok, true);
  assert.equal(await second.stop(), 0);
});

test('a start says that it replaces a lost macaroon key, and that keys are in memory that is not locked', async (context) => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir, env: { KMS_ENGINE: 'openssl' } });
  context.after(() => first.stop());
  const saysUnlocked = (message: string) =>
    message.startsWith('PRIVATE KEYS ARE IN MEMORY THAT IS NOT LOCKED');
  const saysReplaced = (message: string) => message.startsWith('MADE A NEW MACAROON KEY');
  assert.ok(messages(first).some(saysUnlocked));
  assert.ok(!messages(first).some(saysReplaced), 'the first start replaces nothing');
  assert.equal(await first.stop(), 0);
  rmSync(join(dataDir, 'macaroon.key'));
  const second = await startInProcess({ dataDir });
  context.after(() => second.stop());
  assert.ok(messages(second).some(saysReplaced));
  assert.equal(await second.stop(), 0);
});

function messages(service: InProcessService): string[] {
  return service.log.map((line) => JSON.parse(line).msg as string);
}

function post(service: InProcessService, path: string, body: unknown) {
  return call(service, service.token, 'POST', path, body);
}

/** What a start makes once: contents and times. */
function keyFiles(dataDir: string) {
  return ['root.key', 'macaroon.key', 'bootstrap.token'].map((name) => {
    const path = join(dataDir, name);
    return { name, content: readFileSync(path).toString('hex'), changedAtMs: statSync(path).ctimeMs };
  });
}
