import type { AuditParts } from '../../audit/service/parts.ts';
import { type EventFeeds, eventsOperation } from './event-feeds.ts';
import { listReceiptsOperation, readReceiptOperation } from './read-receipts.ts';
import {
  addWebhookOperation,
  listWebhooksOperation,
  removeWebhookOperation,
  type WebhookParts,
} from './webhooks.ts';

export interface ReceiptParts {
  readonly audit: AuditParts | undefined;
  /** Absent: nobody can listen. */
  readonly feeds?: EventFeeds | undefined;
  /** Absent: there are none. */
  readonly webhooks?: WebhookParts | undefined;
}

const noWebhooks: WebhookParts = {
  webhooks: undefined,
  approvals: undefined,
  recorder: { reserve: () => undefined, append: async () => ({ ok: true, value: { index: -1, seq: 0 } }) },
};

/** Receipts of calls, and what tells of them. A surface that has these has them under its own names. */
export function createReceiptOperations({ audit, feeds, webhooks = noWebhooks }: ReceiptParts) {
  return {
    read: readReceiptOperation(audit),
    list: listReceiptsOperation(audit),
    events: eventsOperation(feeds),
    add_webhook: addWebhookOperation(webhooks),
    list_webhooks: listWebhooksOperation(webhooks),
    remove_webhook: removeWebhookOperation(webhooks),
  };
}
