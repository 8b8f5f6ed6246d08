import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { verifyBackup } from '../../src/backup/read.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';
import { done, make, opens, restore } from './backups.ts';

async function create(service: InProcessService, alg = 'ed25519'): Promise<string> {
  return (await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg })).body.kid;
}

const idOf = (kid: string) => kid.split('#')[0] as string;
const sign = (service: InProcessService, kid: string) =>
  call(service, service.token, 'POST', '/v1/kms/sign', { kid: idOf(kid), payload_b3: helloWorldB3 });

test('a backup of a service that is stopped, restored elsewhere, starts and signs, and its log goes on', async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const kids = [await create(first), await create(first, 'ed25519+ml-dsa-65')];
  const signed = (await sign(first, kids[0] as string)).body;
  assert.equal(await first.stop(), 0);

  const out = join(temporaryDirectory(), 'kms.age');
  const { head, manifest, bytes, skipped } = done(await make(dataDir, out));
  assert.deepEqual(skipped, []);
  assert.equal(head.live, false);
  assert.equal(statSync(out).size, bytes);
  assert.equal(statSync(out).mode & 0o777, 0o600);
  assert.deepEqual(done(await verifyBackup(out, opens, () => {})), { head, manifest });
  // The last checkpoint of a stop may have found no time; the anchor is never behind one.
  assert.ok(manifest.checkpoint !== undefined && manifest.checkpoint.size <= manifest.anchorSize);

  const target = join(temporaryDirectory(), 'restored');
  assert.equal(done(await restore(out, target)).kind, 'restored');
  assert.equal(statSync(target).mode & 0o777, 0o700);
  assert.deepEqual(
    readdirSync(target).sort(),
    [...readdirSync(dataDir).filter((name) => name !== 'offline-acts.json'), 'offline-acts.json'].sort(),
  );
  const second = await startInProcess({ dataDir: target });
  for (const kid of kids) assert.equal((await sign(second, kid)).status, 200);
  const verified = await call(second, second.token, 'POST', '/v1/kms/verify', {
    payload_b3: helloWorldB3,
    sigs: signed.sigs,
  });
  assert.equal(verified.body.ok, true);
  assert.equal((await call(second, undefined, 'GET', '/readyz')).status, 200);
  assert.equal(await second.stop(), 0);
});
