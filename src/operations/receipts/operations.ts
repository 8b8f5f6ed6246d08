import type { AuditParts } from '../../audit/service/parts.ts';
import { type EventFeeds, eventsOperation } from './event-feeds.ts';
import { listReceiptsOperation, readReceiptOperation } from './read-receipts.ts';

export interface ReceiptParts {
  readonly audit: AuditParts | undefined;
  /** Absent: nobody can listen. */
  readonly feeds?: EventFeeds | undefined;
}

/** Receipts of calls, and what tells of them. A surface that has these has them under its own names. */
export function createReceiptOperations({ audit, feeds }: ReceiptParts) {
  return {
    read: readReceiptOperation(audit),
    list: listReceiptsOperation(audit),
    events: eventsOperation(feeds),
  };
}
