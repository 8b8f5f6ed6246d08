import { randomUUID } from 'node:crypto';
import { RateLimits, type RateWindow } from '../../admission/rate-limits.ts';
import type { AuditEvent, AuditRecorder } from '../../audit/audit-log.ts';
import type { Clock } from '../../core/clock.ts';
import { type Failure, isPerhapsDone } from '../../core/failure.ts';
import type { Caller } from '../../core/scope.ts';
import { recordUuid } from '../../events/record-uuid.ts';
import type { AuditDurability } from '../../keys/record.ts';
import type { CallReceipts, ReceiptFacts } from '../operation.ts';
import { receiptData, receiptErrorCode } from './facts.ts';

/**
 * Refused calls with a receipt, for each tenant; beyond that they are counted in metrics only. So many a minute fill 1 GB of log a day,
 * and a client that meets 20 refusals a second reads none of them.
 */
export const refusedReceipts: RateWindow = { count: 1_200, windowMs: 60_000 };

/** Tenants with such refusals at a time, about 300 bytes each. */
const maxTenants = 4_096;

/** Records calls that used no key, so that they have receipts too. */
export function createCallReceipts(
  recorder: AuditRecorder,
  level: AuditDurability,
  clock: Clock,
): CallReceipts {
  const allowance = new RateLimits([refusedReceipts], maxTenants);
  return {
    data: receiptData,
    async record(operation, caller, facts, failure) {
      if (failure !== undefined && allowance.take(caller.tenant, clock.monotonicMs()) > 0) return undefined;
      const event = eventOf(operation, caller, facts, failure);
      if (recorder.reserve(1) !== undefined) {
        recorder.unrecorded(event);
        return undefined;
      }
      const appended = await recorder.append(event, level);
      return appended.ok ? recordUuid(appended.value.index, event.opId) : undefined;
    },
  };
}

function eventOf(
  operation: string,
  caller: Caller,
  facts: ReceiptFacts,
  failure: Failure | undefined,
): AuditEvent {
  const { actor, tenant } = caller;
  return {
    ...{ actor, tenant, alg: facts.alg ?? 'none', inputDigest: undefined },
    // As other records of calls that name no key; the key that a receipt names is among its facts.
    ...{ keyId: `${tenant}/-`, keyVersion: 0, opId: randomUUID(), purpose: operation },
    result:
      failure === undefined ? 'ok' : `${isPerhapsDone(failure.code) ? 'error' : 'denied'}:${failure.code}`,
    data: {
      ...receiptData(facts, caller),
      ...(failure === undefined ? undefined : { error_code: receiptErrorCode(failure) }),
    },
  };
}
