import { FormatRegistry, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import type { KmsV1Operations, KmsV1Parts } from '../../src/http/dialects/kms-v1/index.ts';
import { KmsV1Metrics } from '../../src/observe/series/kms-v1-metrics.ts';

/** The dialect alone. None of these operations is run. */
const wing = new Proxy({}, { get: (_, name) => ({ kind: 'keys', name }) });
export const noOperations = new Proxy({}, { get: () => wing }) as unknown as KmsV1Operations;

export function kmsV1Parts(parts: Partial<KmsV1Parts> = {}): KmsV1Parts {
  return {
    ...{ corsOrigins: [], detailWrap: false, rotationDays: { ed25519: 365 }, graceMs: 604_800_000 },
    ...{ usesPerDay: 10_000, allowedAlgorithms: new Set(['ed25519', 'rsa-2048', 'aes-256-gcm']) },
    readiness: () => ({ ready: true, missing: [], degraded: [] }),
    metrics: new KmsV1Metrics({
      ...{ environment: 'test', version: '0', keys: () => [], hsmAvailable: () => true },
    }),
    ...parts,
  };
}

// The published schemas name these formats, which the validators of the service do not need.
FormatRegistry.Set('uuid', (text) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text));
FormatRegistry.Set('date-time', (text) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text));

/** Throws where an answer has not the published shape. */
export function assertFits(schema: TSchema, answer: unknown): void {
  const error = Value.Errors(schema, answer).First();
  if (error !== undefined) throw new Error(`${error.path} ${error.message} in ${JSON.stringify(answer)}`);
}
