import { randomUUID } from 'node:crypto';
import type { AuditEvent, AuditReceipt } from '../audit/audit-log.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { FailureCode } from '../core/failure.ts';
import { ok, type Result } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { BatchResult } from '../engine/batch.ts';
import type { KeyChange, KeyJournal } from '../keys/keyring.ts';
import { type AuditDurability, auditDurabilities } from '../keys/record.ts';
import type { CryptoWork, KeyUse, WorkOutcome } from './operation.ts';

/** Reserved places in the log, or none where the call goes on without a record. */
export type Room = { readonly recorded: boolean };

/** Uses of keys and the audit log. */
export interface UseRecorder {
  /** One place for each use. Refused: no key may be used. */
  reserve(works: readonly CryptoWork[]): Result<Room>;
  /** One outcome for each work, with the receipts of its uses; what could not be recorded becomes a refusal. */
  record(
    room: Room,
    operation: string,
    works: readonly CryptoWork[],
    ran: readonly Result<readonly BatchResult[]>[],
    caller: Caller,
  ): Promise<readonly WorkOutcome[]>;
}

/** These were refused before any key was used. */
const unused: ReadonlySet<FailureCode> = new Set(['Backpressure', 'RateLimited', 'Timeout']);

export function createUseRecorder(trail: AuditTrail, level: AuditDurability): UseRecorder {
  return {
    reserve(works) {
      let uses = 0;
      for (const work of works) uses += work.uses.length;
      const refused = uses === 0 ? undefined : trail.reserve(uses);
      if (refused === undefined) return ok({ recorded: uses > 0 });
      // Verification uses no private key, and stays available when the log does not: the one thing it is not is recorded.
      const verifies = works.every((work) => work.callClass === 'verify');
      return verifies && refused.failure.code === 'AuditUnavailable' ? ok({ recorded: false }) : refused;
    },

    async record(room, operation, works, ran, caller) {
      if (!room.recorded) return ran.map((outcome) => withReceipts(outcome, []));
      return Promise.all(
        ran.map(async (outcome, index) => {
          const work = works[index] as CryptoWork;
          if (!outcome.ok && unused.has(outcome.failure.code)) {
            trail.release(work.uses.length);
            return outcome;
          }
          const result = outcome.ok ? 'ok' : `error:${outcome.failure.code}`;
          const events = work.uses.map((use) => eventOf(use, work, operation, result, caller));
          const receipts = await trail.record(events, strictest(level, work.uses));
          if (!receipts.ok) return receipts;
          return withReceipts(outcome, receiptsOf(work.uses, receipts.value));
        }),
      );
    },
  };
}

function strictest(level: AuditDurability, uses: readonly KeyUse[]): AuditDurability {
  let rank = auditDurabilities.indexOf(level);
  for (const { durability } of uses) {
    if (durability !== undefined) rank = Math.max(rank, auditDurabilities.indexOf(durability));
  }
  return auditDurabilities[rank] as AuditDurability;
}

function withReceipts(
  outcome: Result<readonly BatchResult[]>,
  receipts: Extract<WorkOutcome, { ok: true }>['value']['receipts'],
): WorkOutcome {
  return outcome.ok ? ok({ results: outcome.value, receipts }) : outcome;
}

function eventOf(
  use: KeyUse,
  work: CryptoWork,
  operation: string,
  result: string,
  caller: Caller,
): AuditEvent {
  return {
    actor: caller.actor,
    alg: use.alg,
    digestHex: work.digestHex,
    keyId: use.keyId,
    keyVersion: use.version,
    opId: work.opId ?? randomUUID(),
    purpose: operation,
    result,
    tenant: caller.tenant,
  };
}

function receiptsOf(uses: readonly KeyUse[], receipts: readonly AuditReceipt[]) {
  return receipts.map(({ index, seq }, n) => {
    const { keyId, version } = uses[n] as KeyUse;
    return { kid: `${keyId}#v${version}`, index, seq };
  });
}

/** Changes of keys go to the log before they are committed, and are on the disk before they take effect. */
export function createKeyJournal(trail: AuditTrail): KeyJournal {
  return {
    async record(change: KeyChange) {
      const refused = trail.reserve(1);
      if (refused !== undefined) return refused;
      const { actor, alg, keyId, opId = randomUUID(), tenant, kind } = change;
      const event: AuditEvent = {
        actor,
        alg,
        digestHex: undefined,
        keyId,
        keyVersion: change.version,
        opId,
        purpose: kind,
        result: 'ok',
        tenant,
        type: `key.${kind}`,
      };
      const recorded = await trail.record([event], 'synced');
      return recorded.ok ? ok(undefined) : recorded;
    },
  };
}
