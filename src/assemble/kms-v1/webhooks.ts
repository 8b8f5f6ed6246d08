import type { AuditLog, AuditRecorder } from '../../audit/audit-log.ts';
import type { EventHistory } from '../../audit/event-history.ts';
import type { Config } from '../../config/load.ts';
import type { Approvals } from '../../core/approvals.ts';
import { systemClock } from '../../core/clock.ts';
import { StartError } from '../../core/start-error.ts';
import type { Custody } from '../../custody/custody.ts';
import { ServiceKey } from '../../custody/service-key.ts';
import type { RecordMac } from '../../keys/authenticity.ts';
import { softwareBackend } from '../../keys/record.ts';
import type { Logger } from '../../observe/log.ts';
import type { Metrics } from '../../observe/metrics.ts';
import { createWebhookMetrics } from '../../observe/series/webhook-metrics.ts';
import type { WebhookParts } from '../../operations/receipts/webhooks.ts';
import type { Store } from '../../store/store.ts';
import { WebhookDeliveries } from '../../webhooks/deliveries.ts';
import { resolveBySystem } from '../../webhooks/targets.ts';
import { WebhookStore } from '../../webhooks/webhook-store.ts';
import type { Cryptography } from '../cryptography.ts';

export interface OpenedWebhooks {
  /** Undefined where there are none. */
  readonly parts: WebhookParts | undefined;
  close(): Promise<void>;
}

const none: OpenedWebhooks = { parts: undefined, close: async () => {} };

/** Webhooks, where the surface that has them is served and a log is kept. Throws a StartError where the store does not answer. */
export async function openWebhooks(
  { m33, webhookTargets: rule }: Config,
  log: Logger,
  parts: {
    readonly store: Store;
    readonly mac: RecordMac;
    readonly cryptography: Pick<Cryptography, 'custodies' | 'lane'>;
    readonly metrics: Metrics;
    readonly auditLog: Pick<AuditLog, 'stats'> | undefined;
    readonly history: EventHistory | undefined;
    readonly recorder: AuditRecorder;
    readonly approvals: Approvals;
  },
): Promise<OpenedWebhooks> {
  const { store, mac, cryptography, metrics, auditLog, history, recorder, approvals } = parts;
  if (!m33 || history === undefined || auditLog === undefined) return none;
  if (rule === 'development')
    log.warn(
      'WEBHOOKS GO ANYWHERE, also without TLS (KMS_WEBHOOK_TARGETS=development); never where others reach this service',
    );
  const { custodies, lane } = cryptography;
  const custody = custodies.get(softwareBackend) as Custody;
  const key = new ServiceKey({ store, mac, custody, lane, clock: systemClock }, 'webhooks');
  const counted = createWebhookMetrics(metrics);
  const opened = await WebhookDeliveries.open({
    ...{ history, rule, resolve: resolveBySystem, clock: systemClock },
    origin: () => auditLog.stats().origin,
    store: new WebhookStore(store, mac, (entry) =>
      log.error({ key: entry }, 'a record of a webhook cannot be read or is not authentic'),
    ),
    // HKDF-Expand (RFC 5869) of one block, under a key that only the engine opens.
    secretOf: ({ tenant, id }) => key.tag(Buffer.from(`intaglio/webhook-secret/v1\0${tenant}\0${id}\x01`)),
    observer: {
      attempted: (result) => counted.attempted(result),
      gaveUp({ tenant, id }, reason) {
        counted.gaveUp(reason);
        log.warn({ tenant, webhook: id, reason }, 'a webhook was given up, or one of its events');
      },
    },
  });
  if (!opened.ok) throw new StartError('the store does not answer');
  opened.value.start();
  return { parts: { webhooks: opened.value, approvals, recorder }, close: () => opened.value.close() };
}
