import { randomUUID } from 'node:crypto';
import { workKinds } from '../../algorithms/work-kinds.ts';
import type { AuditEvent, AuditReceipt, AuditRecorder } from '../../audit/audit-log.ts';
import type { FailureCode } from '../../core/failure.ts';
import { ok, type Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { BatchResult } from '../../engine/batch.ts';
import { recordUuid } from '../../events/record-uuid.ts';
import { parseKid } from '../../keys/kid.ts';
import { type AuditDurability, auditDurabilities } from '../../keys/record.ts';
import type { Denials } from '../denials.ts';
import type { CryptoWork, KeyUse, ReceiptDraft, UseReceipt, WorkOutcome } from '../operation.ts';

/** Reserved places in the log, or none where the call goes on without a record. */
export type Room = { readonly recorded: boolean };

/** Uses of keys and the audit log. */
export interface UseRecorder extends Denials {
  /** One place for each use. Refused: no key may be used. */
  reserve(works: readonly CryptoWork[]): Result<Room>;
  /** One outcome for each work, with the receipts of its uses; what could not be recorded becomes a refusal. */
  record(
    room: Room,
    operation: string,
    works: readonly CryptoWork[],
    ran: readonly Result<readonly BatchResult[]>[],
    caller: Caller,
  ): readonly WorkOutcome[] | Promise<readonly WorkOutcome[]>;
  /** A read of public keys that was answered. Such reads make no records; while nothing makes any, they are noted. */
  read(operation: string, kids: readonly string[], caller: Caller): void;
}

/** These were refused before any key was used. */
const unused: ReadonlySet<FailureCode> = new Set(['Backpressure', 'RateLimited', 'Timeout']);

export function createUseRecorder(
  recorder: AuditRecorder,
  level: AuditDurability,
  denials: Denials,
): UseRecorder {
  return {
    reserve(works) {
      let uses = 0;
      for (const work of works) uses += work.uses.length;
      const refused = uses === 0 ? undefined : recorder.reserve(uses);
      if (refused === undefined) return ok({ recorded: uses > 0 });
      // Verification uses no private key, and stays available when the log does not: the one thing it is not is recorded.
      const verifies = works.every(({ kind }) => !workKinds[kind].usesSecret);
      return verifies && refused.failure.code === 'AuditUnavailable' ? ok({ recorded: false }) : refused;
    },

    record(room, operation, works, ran, caller) {
      if (!room.recorded) {
        unrecorded(recorder, operation, works, ran, caller);
        return ran.map((outcome) => withReceipts(outcome, []));
      }
      const append = (work: CryptoWork, index: number) =>
        appendUses(recorder, level, operation, work, ran[index] as Result<readonly BatchResult[]>, caller);
      const [only] = works;
      // As most calls are, and without the promise of them all.
      if (works.length === 1 && only !== undefined) return append(only, 0).then((outcome) => [outcome]);
      return Promise.all(works.map(append));
    },

    read(operation, kids, caller) {
      if (!recorder.degraded) return;
      const named = kids.length === 0 ? [undefined] : kids.map(parseKid);
      for (const kid of named) {
        recorder.unrecorded({
          ...{
            actor: caller.actor,
            alg: kid?.algorithm.name ?? 'none',
            inputDigest: undefined,
            keyId: kid?.id ?? '',
          },
          ...{ keyVersion: kid?.version ?? 0, opId: randomUUID(), purpose: operation, result: 'ok' },
          tenant: caller.tenant,
        });
      }
    },

    ...denials,
  };
}

/** Nothing is recorded: for keys that live in memory only. */
export const recordsNothing: UseRecorder = {
  reserve: () => ok({ recorded: false }),
  record: (_room, _operation, _works, ran) => ran.map((outcome) => withReceipts(outcome, [])),
  read: () => {},
  denied: async () => {},
  unauthorised: () => {},
};

/** Verifications that were done while the log takes no records. */
function unrecorded(
  recorder: AuditRecorder,
  operation: string,
  works: readonly CryptoWork[],
  ran: readonly Result<readonly BatchResult[]>[],
  caller: Caller,
): void {
  for (const [index, outcome] of ran.entries()) {
    if (!usedKeys(outcome)) continue;
    const work = works[index] as CryptoWork;
    for (const use of work.uses)
      recorder.unrecorded(eventOf(use, work, operation, resultOf(use, work, outcome), caller));
  }
}

/** The records of one work, in the order of its uses. */
function appendUses(
  recorder: AuditRecorder,
  level: AuditDurability,
  operation: string,
  work: CryptoWork,
  outcome: Result<readonly BatchResult[]>,
  caller: Caller,
): Promise<WorkOutcome> {
  const { uses } = work;
  if (!usedKeys(outcome)) {
    recorder.release(uses.length);
    return Promise.resolve(outcome as WorkOutcome);
  }
  const atLeast = strictest(level, uses);
  const events = uses.map((use) => eventOf(use, work, operation, resultOf(use, work, outcome), caller));
  const saltOf = (event: AuditEvent) =>
    work.receipts ? recorder.commitmentSalt(event.tenant, event.opId) : undefined;
  const [only] = events;
  return events.length === 1 && only !== undefined
    ? recorder.append(only, atLeast).then((receipt) => {
        if (work.receipt !== undefined && receipt.ok) draw(work.receipt, only, receipt.value);
        return recordedOutcome(outcome, events, [receipt], saltOf);
      })
    : Promise.all(events.map((event) => recorder.append(event, atLeast))).then((receipts) => {
        const [first] = receipts;
        if (work.receipt !== undefined && first?.ok) draw(work.receipt, only as AuditEvent, first.value);
        return recordedOutcome(outcome, events, receipts, saltOf);
      });
}

/** Of several uses the first one's record is the call's receipt. */
function draw(draft: ReceiptDraft, { opId }: AuditEvent, { index }: AuditReceipt): void {
  draft.receiptId = recordUuid(index, opId);
}

/** `ok` is that the key did what was asked, and of a verification that the signatures by it are valid. */
function resultOf(use: KeyUse, work: CryptoWork, outcome: Result<readonly BatchResult[]>): string {
  // A key that was used and did not open what it was given.
  if (!outcome.ok) return outcome.failure.code === 'BadRequest' ? 'invalid' : `error:${outcome.failure.code}`;
  return work.verdict?.(use, outcome.value) ?? 'ok';
}

/** A work that the queue refused never came to a worker. */
function usedKeys(outcome: Result<unknown>): boolean {
  return outcome.ok || !unused.has(outcome.failure.code);
}

function recordedOutcome(
  outcome: Result<readonly BatchResult[]>,
  events: readonly AuditEvent[],
  appended: readonly Result<AuditReceipt>[],
  saltOf: (event: AuditEvent) => Uint8Array | undefined,
): WorkOutcome {
  const receipts: UseReceipt[] = [];
  for (let n = 0; n < appended.length; n++) {
    const receipt = appended[n] as Result<AuditReceipt>;
    if (!receipt.ok) return receipt;
    const event = events[n] as AuditEvent;
    const kid = `${event.keyId}#v${event.keyVersion}`;
    const { index, seq } = receipt.value;
    const salt = saltOf(event);
    receipts.push(salt === undefined ? { kid, index, seq } : { kid, index, seq, salt });
  }
  return withReceipts(outcome, receipts);
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
    inputDigest: work.inputDigest,
    keyId: use.keyId,
    keyVersion: use.version,
    opId: work.opId ?? randomUUID(),
    purpose: operation,
    result,
    tenant: caller.tenant,
    ...work.about,
    ...(use.evidence === undefined ? undefined : { attestation: attestationOf(use.evidence) }),
    ...(work.receipt === undefined ? undefined : { data: work.receipt.data }),
  };
}

function attestationOf({ class: name, sha256 }: NonNullable<KeyUse['evidence']>) {
  return { class: name, sha256 };
}
