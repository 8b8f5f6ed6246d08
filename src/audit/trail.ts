import { type Refused, type Result, refuse } from '../core/result.ts';
import type { AuditEvent, AuditLog, AuditReceipt, Durability } from './audit-log.ts';
import type { SideLog } from './service/side-log.ts';

/**
 * The audit log as a call meets it: room before a key is used, records before the answer leaves. No record, no
 * signature.
 */
export interface AuditTrail {
  /** Room for `count` records, or why the call cannot go on; nothing is reserved then. */
  reserve(count: number): Refused | undefined;
  /** Gives back room for which nothing is recorded. */
  release(count: number): void;
  /** Uses up one reserved place. Refused: the record could not be kept, and the answer must not leave. */
  append(event: AuditEvent, level: Durability): Promise<Result<AuditReceipt>>;
  /** The salt that opens the commitment in a record's input_hash; undefined where it is none. Costs an HMAC. */
  commitmentSalt(tenant: string, opId: string): Uint8Array | undefined;
  /** The change of a key that was recorded last is in the store. */
  changeCommitted(keyId: string): void;
  /** The log takes no records now. */
  readonly degraded: boolean;
  /** What is right although there is no record of it: goes to the side log, and nobody waits. */
  unrecorded(event: AuditEvent): void;
}

/** A full queue is 2,048 records, which are written within some 20 ms. */
const queueRetryMs = 20;

/** Most states that are not `ready` need an operator or a new disk; asking every few seconds is often enough. */
const unavailableRetryMs = 5_000;

export function createAuditTrail(log: AuditLog, sideLog: Pick<SideLog, 'record'>): AuditTrail {
  return {
    reserve(count) {
      if (log.reserve(count)) return undefined;
      return log.state === 'ready'
        ? refuse('Backpressure', 'too many records wait for the audit log', queueRetryMs)
        : refuse(
            'AuditUnavailable',
            'no record, no signature: verification and public keys are still served',
            unavailableRetryMs,
          );
    },
    release: (count) => log.release(count),
    append: (event, level) => log.append(event, level),
    commitmentSalt: (tenant, opId) => log.commitmentSalt(tenant, opId),
    changeCommitted: (keyId) => log.changeCommitted(keyId),
    get degraded() {
      return log.state !== 'ready';
    },
    unrecorded: (event) => sideLog.record(event),
  };
}
