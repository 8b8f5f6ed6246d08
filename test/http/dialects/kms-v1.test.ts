import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kmsV1Dialect } from '../../../src/http/dialects/kms-v1/index.ts';
import { routes } from '../../../src/http/dialects/kms-v1/routes.ts';
import { dialectContract } from '../../contracts/dialect.ts';
import { kmsV1Parts, noOperations } from '../../support/kms-v1-dialect.ts';

const dialect = kmsV1Dialect(noOperations, kmsV1Parts());
const keyId = '0b1e7d7e-6f57-4e0a-9d63-0a7f4f5d2c11';

dialectContract('kms-v1', dialect, {
  routes: Object.entries(routes).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => [method, `/kms/v1${path.replace(/\{\w+\}/, keyId)}`] as const),
  ),
  pieces: [
    ...['/kms', '/v1', '/kms/v1', '/keys', '/sign', '/rotate', '/health', '/config', '/metrics', '/*'],
    ...['/{key_id}', '/trust-anchors', '/validate', '/crl', '/receipts', '/events', '/webhooks'],
  ],
});

test('kms-v1: the bare prefix is its own path, on which there is nothing', () => {
  assert.ok(dialect.owns('/kms/v1'));
  assert.ok(!dialect.owns('/kms/v10'));
  const found = dialect.find('get', '/kms/v1');
  assert.equal(!found.ok && found.failure.fault, 'path');
});
