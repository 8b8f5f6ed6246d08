import assert from 'node:assert/strict';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call } from '../support/service.ts';

test('the service takes schedules from the policy of a key and from KMS_ROTATION, and shows them', async () => {
  const service = await startInProcess({
    env: { KMS_BACKEND: 'memory', KMS_AUDIT: 'off', KMS_ROTATION: 'ed25519=365' },
  });
  const ask = (method: 'GET' | 'POST', path: string, body?: unknown) =>
    call(service, service.token, method, `/v1/kms${path}`, body);
  const create = async (policy?: object, alg = 'ed25519') => {
    const answer = await ask('POST', '/keys', { purpose: 'web', alg, ...(policy ? { policy } : {}) });
    return { status: answer.status, kid: String(answer.body.kid) };
  };
  const policyOf = async (kid: string) => (await ask('GET', `/keys/${encodeURIComponent(kid)}`)).body.policy;
  const byDefault = await policyOf((await create()).kid);
  assert.equal(byDefault?.rotate_after_days, 365);
  assert.match(String(byDefault?.rotates_at), /^20\d\d-/);
  assert.deepEqual(await policyOf((await create(undefined, 'ml-dsa-44')).kid), undefined);
  const own = await policyOf((await create({ rotate_after_days: 30, keep_versions: 4 })).kid);
  assert.equal(own?.rotate_after_days, 30);
  assert.equal(own?.keep_versions, 4);
  for (const wrong of [
    { rotate_after_days: 0 },
    { rotate_after_days: 3651 },
    { rotate_after_days: '30' },
    { rotate_after_days: 1.5 },
    { keep_versions: 2 },
    { rotate_after_days: 1, keep_versions: 0 },
    { rotate_after: 1 },
  ])
    assert.equal((await create(wrong)).status, 400, JSON.stringify(wrong));
});
