import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';

test('the audit log is where KMS_AUDIT_DIR says, its head stays in the data directory, and both are found again', async () => {
  const dataDir = temporaryDirectory();
  const auditDir = join(temporaryDirectory(), 'log', 'of-kms');
  const env = { KMS_AUDIT_DIR: auditDir };
  let kid: string | undefined;
  for (const expected of [2, 3]) {
    const service = await startInProcess({ dataDir, env });
    const post = (path: string, body: unknown) =>
      call(service, service.token, 'POST', `/v1/kms${path}`, body);
    kid ??= (await post('/keys', { purpose: 'p', alg: 'ed25519' })).body.kid;
    const signed = await post('/sign', { kid, payload_b3: helloWorldB3 });
    assert.equal(signed.status, 200, JSON.stringify(signed.body));
    const { body } = await call(service, service.token, 'GET', '/v1/kms/audit/records?limit=1000');
    const ofKey = (body.records as { record: { key_id: string } }[]).filter(
      ({ record }) => record.key_id === kid?.split('#')[0],
    );
    assert.equal(ofKey.length, expected);
    assert.equal(await service.stop(), 0);
  }
  assert.equal(statSync(auditDir).mode & 0o777, 0o700);
  assert.ok(existsSync(join(auditDir, 'e1')) && existsSync(join(dataDir, 'audit.head')));
  assert.ok(!existsSync(join(dataDir, 'audit')));
});

test('an audit directory into which others may write is refused', async () => {
  const auditDir = join(temporaryDirectory(), 'log');
  mkdirSync(auditDir);
  chmodSync(auditDir, 0o777);
  await assert.rejects(startInProcess({ env: { KMS_AUDIT_DIR: auditDir } }), /log may be written by others/);
});
