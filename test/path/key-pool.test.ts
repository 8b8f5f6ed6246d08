import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { until } from '../support/keyring.ts';
import { metric } from '../support/requests.ts';
import { call, helloWorldB3, temporaryDirectory } from '../support/service.ts';

test('RSA keys from the pool sign and verify, over a restart too', async () => {
  const dataDir = temporaryDirectory();
  const env = { KMS_RSA_POOL: '2' };
  let service = await startInProcess({ dataDir, env });
  const post = async (path: string, body: unknown, status = 200) => {
    const answer = await call(service, service.token, 'POST', `/v1/kms${path}`, body);
    assert.equal(answer.status, status, JSON.stringify(answer.body));
    return answer.body;
  };
  let ready = 0;
  await until(async () => {
    ready = await metric(service, 'kms_rsa_pool_ready');
    return ready === 2;
  });
  const made = await post('/keys', { purpose: 'p', alg: 'rsa-2048' }, 201);
  assert.equal(await metric(service, 'kms_rsa_pool_keys_total', 'what="taken"'), 1);
  const signs = async () => {
    const { sigs } = await post('/sign', { kid: made.kid, payload_b3: helloWorldB3 });
    assert.equal((await post('/verify', { payload_b3: helloWorldB3, sigs })).ok, true);
  };
  await signs();
  assert.equal(await service.stop(), 0);
  service = await startInProcess({ dataDir, env });
  await signs();
  assert.equal(await service.stop(), 0);
});
