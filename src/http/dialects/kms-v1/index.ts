import type { Readiness } from '../../../observe/health.ts';
import type { KmsV1Metrics, KmsV1Series } from '../../../observe/series/kms-v1-metrics.ts';
import type * as asked from '../../../operations/lifecycle/requests.ts';
import type { Operation } from '../../../operations/operation.ts';
import type { createReceiptOperations } from '../../../operations/receipts/operations.ts';
import type * as trusted from '../../../operations/trust/requests.ts';
import type { TrustAnchor } from '../../../trust/anchor-records.ts';
import type { EnrolledPage } from '../../../trust/enrolled.ts';
import { bearerCredentials } from '../../credentials.ts';
import type { AnyEndpoint, Dialect, OwnRequest, Presented } from '../../dialect.ts';
import { type ConfigFacts, presentConfig } from './config.ts';
import { presentEnvelope, publishedCode } from './failures.ts';
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
import { describeKmsV1 } from './openapi.ts';
import { eventsEndpoint, listReceiptsEndpoint, readReceiptEndpoint } from './receipts.ts';
import { livenessPath, ownPaths, pathPrefix, type RouteName, routeAt } from './routes.ts';
import {
  addAnchorEndpoint,
  enrolEndpoint,
  listAnchorsEndpoint,
  listCertificatesEndpoint,
  readAnchorEndpoint,
  removeAnchorEndpoint,
  revocationListEndpoint,
  validateChainEndpoint,
} from './trust.ts';
import { decryptDataEndpoint, encryptDataEndpoint, signDataEndpoint, verifyDataEndpoint } from './uses.ts';
import { addWebhookEndpoint, listWebhooksEndpoint, removeWebhookEndpoint } from './webhooks.ts';

/** The operations behind this surface. */
export interface KmsV1Operations {
  readonly lifecycle: LifecycleCalls;
  readonly trust: TrustCalls;
  readonly receipts: ReceiptCalls;
}

interface LifecycleCalls {
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

interface TrustCalls {
  readonly add: Operation<trusted.AddAnchorRequest, trusted.AddedAnchor>;
  readonly list: Operation<trusted.ListAnchorsRequest, trusted.ListedAnchors>;
  readonly read: Operation<trusted.ReadAnchorRequest, TrustAnchor>;
  readonly remove: Operation<trusted.RemoveAnchorRequest, TrustAnchor>;
  readonly crl: Operation<trusted.RevocationListRequest, TrustAnchor>;
  readonly validate: Operation<trusted.ValidateChainRequest, trusted.ChainVerdict>;
  readonly enrol: Operation<trusted.EnrolRequest, trusted.EnrolAnswer>;
  readonly certificates: Operation<trusted.ListEnrolledRequest, EnrolledPage>;
}

type ReceiptCalls = ReturnType<typeof createReceiptOperations>;

export interface KmsV1Parts extends ConfigFacts {
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
    owns: (path) => path.startsWith(ownPaths) || path === pathPrefix || path === livenessPath,
    find: (method, path) => routeAt<AnyEndpoint>(endpoints, method, path),
    presentFailure: (failure, facts) => presentEnvelope(failure, facts, parts.detailWrap),
    credentials: (exchange) => ({
      ...bearerCredentials(exchange),
      placed: { claimedCertificate: exchange.headers.claimedCertificate },
    }),
    own: (request) => ownAnswer(request, parts),
    headers: (facts) => headersOf(facts, parts.corsOrigins),
    answered({ endpoint, failure, durationMs }) {
      if (endpoint === undefined && failure === undefined) return;
      const code = failure === undefined ? undefined : publishedCode(failure);
      metrics.answered((endpoint && series.get(endpoint)) ?? none, { code, durationMs });
    },
    openapi: describeKmsV1,
    lines: { begin: 'request.start', end: 'request.end' },
  };
}

function endpointsOf({ lifecycle, trust, receipts }: KmsV1Operations) {
  return {
    generate_key: generateEndpoint(lifecycle.generate),
    list_keys: listKeysEndpoint(lifecycle.list),
    read_key: readKeyEndpoint(lifecycle.read),
    rotate_key: rotateKeyEndpoint(lifecycle.rotate),
    revoke_key: revokeKeyEndpoint(lifecycle.revoke),
    archive_key: archiveKeyEndpoint(lifecycle.archive),
    sign: signDataEndpoint(lifecycle.sign),
    verify: verifyDataEndpoint(lifecycle.verify),
    encrypt: encryptDataEndpoint(lifecycle.encrypt),
    decrypt: decryptDataEndpoint(lifecycle.decrypt),
    add_trust_anchor: addAnchorEndpoint(trust.add),
    list_trust_anchors: listAnchorsEndpoint(trust.list),
    read_trust_anchor: readAnchorEndpoint(trust.read),
    remove_trust_anchor: removeAnchorEndpoint(trust.remove),
    set_revocation_list: revocationListEndpoint(trust.crl),
    validate_chain: validateChainEndpoint(trust.validate),
    enrol_certificate: enrolEndpoint(trust.enrol),
    list_certificates: listCertificatesEndpoint(trust.certificates),
    list_receipts: listReceiptsEndpoint(receipts.list),
    read_receipt: readReceiptEndpoint(receipts.read),
    listen_to_events: eventsEndpoint(receipts.events),
    create_webhook: addWebhookEndpoint(receipts.add_webhook),
    list_webhooks: listWebhooksEndpoint(receipts.list_webhooks),
    delete_webhook: removeWebhookEndpoint(receipts.remove_webhook),
  } satisfies Readonly<Record<RouteName, AnyEndpoint>>;
}

/** Probes, which need no caller, and preflights. */
function ownAnswer(request: OwnRequest, parts: KmsV1Parts): Presented | Promise<Presented> | undefined {
  const { method, path } = request;
  if (method !== 'get' && method !== 'head') return preflight(request, parts.corsOrigins);
  switch (path) {
    case livenessPath:
    case `${pathPrefix}/health`:
      return { status: 200, body: healthOf(parts.readiness()) };
    case `${pathPrefix}/config`:
      return { status: 200, body: presentConfig(parts) };
    case `${pathPrefix}/metrics`:
      return exposition(parts.metrics);
    case `${pathPrefix}/openapi.json`:
      return { status: 200, body: describeKmsV1() };
    default:
      return undefined;
  }
}

/** As clients of the module expect it, of format 0.0.4. */
const expositionType = 'text/plain; charset=utf-8';

async function exposition(metrics: KmsV1Metrics): Promise<Presented> {
  const bytes = Buffer.from(await metrics.exposition());
  return { status: 200, raw: { contentType: expositionType, bytes } };
}
