import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startInProcess } from '../support/in-process.ts';
import { metric } from '../support/requests.ts';
import { base64, codeOf, idOf, sealingClient } from '../support/sealing-client.ts';
import { helloWorldB3, temporaryDirectory } from '../support/service.ts';

const algorithms = ['ed25519', 'ml-dsa-44', 'ecdsa-p256', 'mldsa65-ed25519', 'ed25519+ml-dsa-65'];

test('the root key is replaced while the service signs: no call fails, and afterwards everything is under the new one', async () => {
  const dataDir = temporaryDirectory();
  const service = await startInProcess({ dataDir, tuning: { rootOverlapMs: 50 } });
  const { good, get, create, rotate, destroy } = sealingClient(service);
  const kids: string[] = [];
  for (const alg of algorithms) kids.push(await create(alg, 'rotation'));
  await rotate(kids[0] as string);
  const encrypting = await create('aes-256-gcm', 'rotation');
  const encrypted = await good('/encrypt', { kid: encrypting, plaintext_b64: base64('before') });
  const wrapping = await get('/keys/import/wrapping-key');
  assert.equal(wrapping.status, 200);
  const rootBefore = readFileSync(join(dataDir, 'root.key'));
  const state = await get('/admin/root');
  assert.deepEqual([state.status, state.body.generation], [200, 1]);

  let signatures = 0;
  let stop = false;
  const current = kids.map(idOf);
  const signing = Array.from({ length: 8 }, async (_, lane) => {
    for (let n = lane; !stop; n++) {
      const kid = current[n % current.length] as string;
      const signed = await good('/sign', { kid, payload_b3: helloWorldB3 });
      const sigs = signed.sigs.map(({ kid, signature_b64 }: Record<string, string>) => ({
        kid,
        signature_b64,
      }));
      const verified = await good('/verify', { payload_b3: helloWorldB3, sigs });
      assert.equal(verified.ok, true, JSON.stringify(verified));
      signatures++;
    }
  });
  const making = (async () => {
    for (let n = 0; !stop; n++) {
      const kid = await create('ed25519', `made-${n}`);
      await rotate(kid);
      await destroy(kid, 1);
      current.push(idOf(kid));
    }
  })();

  await delay(100);
  for (const generation of [2, 3]) {
    await good('/admin/root/rotate', {}, 202);
    const closed = (line: string) =>
      line.includes('root key rotation: closed') && line.includes(`"generation":${generation}`);
    await service.logged(closed);
    await delay(50);
  }
  stop = true;
  await Promise.all([...signing, making]);
  assert.ok(signatures > 20, String(signatures));

  const after = await get('/admin/root');
  assert.equal(after.body.generation, 3);
  assert.notEqual(after.body.root, state.body.root);
  assert.equal(after.body.rotation, undefined);
  assert.equal(await metric(service, 'kms_root_generation'), 3);
  assert.notDeepEqual(readFileSync(join(dataDir, 'root.key')), rootBefore);
  assert.deepEqual(readFileSync(join(dataDir, 'root.key.retired-1')), rootBefore);
  assert.equal(existsSync(join(dataDir, 'root.key.next')), false);
  const { nonce_b64, ciphertext_b64 } = encrypted;
  const sealed = { kid: encrypting, nonce_b64, ciphertext_b64 };
  assert.equal((await good('/decrypt', sealed)).plaintext_b64, base64('before'));

  const records = await get('/audit/records?from=0&limit=1000');
  const found = (records.body.records as { record: Record<string, unknown> }[])
    .map(({ record }) => record)
    .filter(({ type }) => type === 'root.rotated');
  assert.ok(records.body.next !== undefined || found.length === 2, String(found.length));
  assert.equal(await service.stop(), 0);

  // The next start has the new key alone.
  const again = await startInProcess({ dataDir });
  const client = sealingClient(again);
  for (const kid of current.slice(0, 12)) await client.good('/sign', { kid, payload_b3: helloWorldB3 });
  assert.equal((await client.good('/decrypt', sealed)).plaintext_b64, base64('before'));
  assert.equal(
    again.log.some((line) => line.includes('cannot be read or is not authentic')),
    false,
  );
  assert.equal((await client.get('/admin/root')).body.generation, 3);
  assert.equal(await again.stop(), 0);
});

test('over a store in memory no root key is rotated, and no other tenant does it or sees it', async () => {
  const service = await startInProcess({ env: { KMS_BACKEND: 'memory', KMS_AUDIT: 'off' } });
  assert.equal(codeOf(await sealingClient(service).post('/admin/root/rotate', {})), '409 Conflict');
  const other = sealingClient(service, await service.mint('acme', 'kms:admin'));
  assert.equal(codeOf(await other.post('/admin/root/rotate', {})), '403 NoCapability');
  assert.equal(codeOf(await other.get('/admin/root')), '403 NoCapability');
  await service.stop();
});
