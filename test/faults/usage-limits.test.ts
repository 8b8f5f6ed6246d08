import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, helloWorldB3, startService, temporaryDirectory } from '../support/service.ts';

test('a limit of a key holds over kill -9 and over restarts', { timeout: 120_000 }, async () => {
  const dataDir = temporaryDirectory();
  const env = { KMS_KEY_USES_PER_DAY: '6' };
  let kid = '';
  let signed = 0;
  for (const end of ['kill', 'stop', 'stop'] as const) {
    const service = await startService({ dataDir, env });
    const ask = (path: string, body: unknown) => call(service, service.token, 'POST', `/v1/kms${path}`, body);
    if (kid === '') kid = (await ask('/keys', { purpose: 'web', alg: 'ed25519' })).body.kid;
    const sign = async () => (await ask('/sign', { kid, payload_b3: helloWorldB3 })).status;
    if (end === 'kill') for (let n = 0; n < 3; n++) assert.equal(await sign(), 200);
    const statuses = end === 'kill' ? [200, 200, 200] : await Promise.all(Array.from({ length: 16 }, sign));
    signed += statuses.filter((status) => status === 200).length;
    assert.ok(
      statuses.every((status) => status === 200 || status === 429),
      String(statuses),
    );
    await service[end]();
  }
  assert.equal(signed, 6);
});
