import assert from 'node:assert/strict';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { assertFailed } from '../support/requests.ts';
import { call, temporaryDirectory } from '../support/service.ts';

test('rotate makes no key of an algorithm that is no longer allowed', { timeout: 120_000 }, async () => {
  const dataDir = temporaryDirectory();
  const before = await startInProcess({ dataDir });
  const post = (service: typeof before, path: string, body: unknown) =>
    call(service, service.token, 'POST', `/v1/kms${path}`, body);
  const made = await post(before, '/keys', { purpose: 'p', alg: 'ml-dsa-65' });
  assert.equal(made.status, 201);
  const id = (made.body.kid as string).replace('#v1', '');
  assert.equal(await before.stop(), 0);

  const service = await startInProcess({ dataDir, env: { KMS_ALLOWED_ALGS: 'ed25519' } });
  try {
    const path = `/keys/${encodeURIComponent(id)}`;
    assertFailed(await post(service, `${path}/rotate`, {}), 403, 'PolicyViolation');
    const described = await call(service, service.token, 'GET', `/v1/kms${path}`);
    assert.equal(described.body.current_version, 1);
    const allowed = await post(service, '/keys', { purpose: 'p', alg: 'ed25519' });
    const other = encodeURIComponent((allowed.body.kid as string).replace('#v1', ''));
    assert.equal((await post(service, `/keys/${other}/rotate`, {})).status, 200);
    assert.equal((await post(service, `${path}/destroy`, {})).status, 200, 'destroying stays possible');
  } finally {
    await service.stop();
  }
});
