import {
  type KmsV1Operations,
  type KmsV1Parts,
  kmsV1Dialect,
} from '../../../src/http/dialects/kms-v1/index.ts';
import { routes } from '../../../src/http/dialects/kms-v1/routes.ts';
import { KmsV1Metrics } from '../../../src/observe/series/kms-v1-metrics.ts';
import { dialectContract } from '../../contracts/dialect.ts';

const parts: KmsV1Parts = {
  ...{ corsOrigins: [], detailWrap: false, rotationDays: { ed25519: 365 }, graceMs: 604_800_000 },
  ...{ usesPerDay: 10_000, allowedAlgorithms: new Set(['ed25519', 'rsa-2048', 'aes-256-gcm']) },
  readiness: () => ({ ready: true, missing: [], degraded: [] }),
  metrics: new KmsV1Metrics({
    ...{ environment: 'test', version: '0', keys: () => [], hsmAvailable: () => true },
  }),
};

/** None of them is run. */
const wing = new Proxy({}, { get: (_, name) => ({ kind: 'keys', name }) });
const operations = new Proxy({}, { get: () => wing }) as unknown as KmsV1Operations;

const keyId = '0b1e7d7e-6f57-4e0a-9d63-0a7f4f5d2c11';
dialectContract('kms-v1', kmsV1Dialect(operations, parts), {
  routes: Object.entries(routes).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => [method, `/kms/v1${path.replace(/\{\w+\}/, keyId)}`] as const),
  ),
  pieces: [
    ...['/kms', '/v1', '/kms/v1', '/keys', '/sign', '/rotate', '/health', '/config', '/metrics', '/*'],
    ...['/{key_id}', '/trust-anchors', '/validate', '/crl', '/receipts', '/events'],
  ],
});
