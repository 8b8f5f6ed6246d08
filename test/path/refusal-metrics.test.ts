import assert from 'node:assert/strict';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, callForBytes } from '../support/service.ts';

test('404 of no path, 405, and what a key refuses are counted', { timeout: 120_000 }, async () => {
  const service = await startInProcess();
  try {
    for (const [method, path, status] of [
      ['GET', '/v1/kms/nothing-here', 404],
      ['DELETE', '/v1/kms/keys', 405],
      ['GET', '/v1/kms/keys/default%2Fp%2Fed25519%2F00000000-0000-4000-8000-000000000000', 404],
    ] as const) {
      assert.equal((await call(service, service.token, method, path)).status, status, path);
    }
    const { text } = await callForBytes(service, undefined, 'GET', '/metrics');
    assert.match(text, /^kms_reject_total\{reason="not_found"\} 2$/m);
    assert.match(text, /^kms_reject_total\{reason="method"\} 1$/m);
  } finally {
    await service.stop();
  }
});
