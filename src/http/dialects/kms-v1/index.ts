import type { Readiness } from '../../../observe/health.ts';
import type { KmsV1Metrics, KmsV1Series } from '../../../observe/series/kms-v1-metrics.ts';
import type * as asked from '../../../operations/lifecycle/requests.ts';
import type { Operation } from '../../../operations/operation.ts';
import type { AnyEndpoint, Dialect, OwnRequest, Presented } from '../../dialect.ts';
import { presentConfig, type SurfaceFacts } from './config.ts';
import { presentError, publishedCode } from './failures.ts';
import { headersOf, preflight } from './headers.ts';
import { healthOf } from './health.ts';
import {
  archiveKeyEndpoint,
  generateEndpoint,
  listKeysEndpoint,
  readKeyEndpoint,
  revokeKeyEndpoint,
  rotateKeyEndpoint,
} from './keys.ts';
import { findRoute, livenessPath, ownPaths, prefix, type RouteName } from './routes.ts';
import { decryptDataEndpoint, encryptDataEndpoint, signDataEndpoint, verifyDataEndpoint } from './uses.ts';

/** The operations behind this surface. */
export interface KmsV1Operations {
  readonly generate: Operation<asked.GenerateRequest, asked.KeyGenerated>;
  readonly list: Operation<asked.IdentifiedListRequest, asked.IdentifiedPage>;
  readonly read: Operation<asked.IdentifiedReadRequest, asked.KeyMetadata>;
  readonly rotate: Operation<asked.IdentifiedRotateRequest, asked.IdentifiedRotateAnswer>;
  readonly revoke: Operation<asked.RevokeRequest, asked.RevokeAnswer>;
  readonly archive: Operation<asked.ArchiveRequest, asked.ArchiveAnswer>;
  readonly sign: Operation<asked.IdentifiedSignRequest, asked.IdentifiedSignAnswer>;
  readonly verify: Operation<asked.IdentifiedVerifyRequest, asked.IdentifiedVerifyAnswer>;
  readonly encrypt: Operation<asked.IdentifiedEncryptRequest, asked.IdentifiedEncryptAnswer>;
  readonly decrypt: Operation<asked.IdentifiedDecryptRequest, asked.IdentifiedDecryptAnswer>;
}

export interface KmsV1Parts extends SurfaceFacts {
  /** Origins of pages that may read answers; `*` for all. */
  readonly corsOrigins: readonly string[];
  /** True: the error envelope is nested under `detail`. */
  readonly detailWrap: boolean;
  readonly readiness: () => Readiness;
  /** Of the service, so that counts go on where the dialect is made anew. */
  readonly metrics: KmsV1Metrics;
}

/** The surface of the Key Management Service Module M33: JSON under /kms/v1 over the same operations. docs/kms-v1.md. */
export function kmsV1Dialect(operations: KmsV1Operations, parts: KmsV1Parts): Dialect {
  const endpoints = endpointsOf(operations);
  const { metrics } = parts;
  const none = metrics.series('none');
  const series = new Map<AnyEndpoint, KmsV1Series>(
    Object.entries(endpoints).map(([name, endpoint]) => [endpoint, metrics.series(name)]),
  );
  return {
    owns: (path) => path.startsWith(ownPaths) || path === livenessPath,
    find: (method, path) => findRoute<AnyEndpoint>(endpoints, method, path),
    presentFailure: (failure, facts) => presentError(failure, facts, parts.detailWrap),
    own: (request) => ownAnswer(request, parts),
    headers: (facts) => headersOf(facts, parts.corsOrigins),
    answered({ endpoint, failure, durationMs }) {
      if (endpoint === undefined && failure === undefined) return;
      const code = failure === undefined ? undefined : publishedCode(failure);
      metrics.answered((endpoint && series.get(endpoint)) ?? none, { code, durationMs });
    },
    lines: { begin: 'request.start', end: 'request.end' },
  };
}

function endpointsOf(operations: KmsV1Operations) {
  return {
    generate_key: generateEndpoint(operations.generate),
    list_keys: listKeysEndpoint(operations.list),
    read_key: readKeyEndpoint(operations.read),
    rotate_key: rotateKeyEndpoint(operations.rotate),
    revoke_key: revokeKeyEndpoint(operations.revoke),
    archive_key: archiveKeyEndpoint(operations.archive),
    sign: signDataEndpoint(operations.sign),
    verify: verifyDataEndpoint(operations.verify),
    encrypt: encryptDataEndpoint(operations.encrypt),
    decrypt: decryptDataEndpoint(operations.decrypt),
  } satisfies Readonly<Record<RouteName, AnyEndpoint>>;
}

/** Probes, which need no caller, and preflights. */
function ownAnswer(request: OwnRequest, parts: KmsV1Parts): Presented | Promise<Presented> | undefined {
  const { method, path } = request;
  if (method !== 'get' && method !== 'head') return preflight(request, parts.corsOrigins);
  switch (path) {
    case livenessPath:
    case `${prefix}/health`:
      return { status: 200, body: healthOf(parts.readiness()) };
    case `${prefix}/config`:
      return { status: 200, body: presentConfig(parts) };
    case `${prefix}/metrics`:
      return exposition(parts.metrics);
    default:
      return undefined;
  }
}

async function exposition(metrics: KmsV1Metrics): Promise<Presented> {
  const bytes = Buffer.from(await metrics.exposition());
  return { status: 200, raw: { contentType: metrics.contentType, bytes } };
}
