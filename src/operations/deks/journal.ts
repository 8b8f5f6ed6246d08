import { randomUUID } from 'node:crypto';
import type { AuditEvent, AuditRecorder } from '../../audit/audit-log.ts';
import { ok, type Refused } from '../../core/result.ts';
import type { DekChange, DekJournal } from './parts.ts';

/** Records each change before it is made. A change that then fails gets a second record with the failure. */
export function createDekJournal(recorder: AuditRecorder, kekId: string): DekJournal {
  return {
    async record(change) {
      const full = recorder.reserve(2);
      if (full !== undefined) return full;
      const event = eventOf(change, kekId);
      const recorded = await recorder.append(event, 'synced');
      const failed = ({ failure: { code } }: Refused) => {
        void recorder.append({ ...event, result: `error:${code}` }, 'written');
      };
      if (!recorded.ok) {
        failed(recorded);
        return recorded;
      }
      return ok({
        end(refused: Refused | undefined) {
          if (refused === undefined) recorder.release(1);
          else failed(refused);
        },
      });
    },
  };
}

function eventOf({ kind, caller, facts }: DekChange, kekId: string): AuditEvent {
  const { actor, tenant } = caller;
  return {
    ...{ actor, tenant, opId: randomUUID(), alg: 'aes-256-gcm', inputDigest: undefined },
    ...{ keyId: kekId, keyVersion: 0, purpose: operationOf[kind], result: 'ok' },
    type: typeOf[kind],
    data: facts,
  };
}

const operationOf = {
  ...{ destroyed: 'dek_destroy', kek_rotated: 'kek_rotate' },
  ...{ restored: 'dek_restore', rewrapped: 'dek_rewrap' },
} as const;
const typeOf = {
  ...{ destroyed: 'dek.destroy', kek_rotated: 'kek.rotate' },
  ...{ restored: 'dek.restore', rewrapped: 'dek.rewrap' },
} as const;
