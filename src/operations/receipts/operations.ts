import type { AuditParts } from '../../audit/service/parts.ts';
import { listReceiptsOperation, readReceiptOperation } from './read-receipts.ts';

export interface ReceiptParts {
  readonly audit: AuditParts | undefined;
}

/** Receipts of calls, and what tells of them. A surface that has these has them under its own names. */
export function createReceiptOperations(parts: ReceiptParts) {
  return {
    read: readReceiptOperation(parts.audit),
    list: listReceiptsOperation(parts.audit),
  };
}
