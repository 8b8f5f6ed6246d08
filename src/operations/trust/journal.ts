import { randomUUID } from 'node:crypto';
import type { AuditEvent, AuditRecorder } from '../../audit/audit-log.ts';
import type { Approval } from '../../core/approvals.ts';
import type { FailureCode } from '../../core/failure.ts';
import { ok, type Refused, type Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { AnchorChange } from '../../trust/trust-anchors.ts';

interface Agreed {
  /** Its name in the audit log. */
  readonly operation: string;
  readonly caller: Pick<Caller, 'actor' | 'tenant'>;
  readonly approval: Approval;
  readonly opId: string | undefined;
  readonly place: { readonly environment: string; readonly plane: string };
}

export interface AnchorEvent extends Agreed {
  readonly change: AnchorChange;
}

export interface CertificateEvent extends Agreed {
  readonly anchorId: string;
  /** Versioned. */
  readonly kid: string;
  readonly serial: string;
  readonly sha256: string;
  readonly notAfterMs: number;
}

/** Changes of what is trusted, and the audit log. */
export interface TrustJournal {
  /** The record is on the disk when it resolves. `end` is told how the change went; what did not happen gets a second record. */
  changing(event: AnchorEvent): Promise<Result<{ end(failure?: FailureCode): void }>>;
  /** The same of a certificate that was signed; it does not leave before. */
  issued(event: CertificateEvent): Promise<Refused | undefined>;
}

export function createTrustJournal(recorder: AuditRecorder): TrustJournal {
  return {
    async changing(event) {
      const full = recorder.reserve(2);
      if (full !== undefined) return full;
      const record = recordOfChange(event);
      const appended = await recorder.append(record, 'synced');
      const failed = (code: FailureCode) => {
        void recorder.append({ ...record, result: `error:${code}` }, 'written');
      };
      if (!appended.ok) {
        // It can be on the log all the same, now or later.
        failed(appended.failure.code);
        return appended;
      }
      return ok({
        end(failure) {
          if (failure !== undefined) return failed(failure);
          recorder.changeCommitted(record.keyId);
          recorder.release(1);
        },
      });
    },
    async issued(event) {
      const full = recorder.reserve(1);
      if (full !== undefined) return full;
      const appended = await recorder.append(recordOfCertificate(event), 'synced');
      return appended.ok ? undefined : appended;
    },
  };
}

function recordOfChange(event: AnchorEvent): AuditEvent {
  const { kind, anchor } = event.change;
  const { id, tenant, type, certificate, list, places } = anchor;
  return {
    // Changes of one owner's anchors come one after the other, so that the one that is committed is known by this.
    ...{ ...partsOf(event), keyId: `${tenant}/-`, type: 'trust_anchor.updated' },
    data: {
      ...{ change: kind, anchor_id: id, anchor_tenant: tenant, anchor_type: type },
      ...{ certificate_sha256: certificate.sha256, ...factsOf(event) },
      places: places.map(({ environment, plane }) => `${environment}/${plane}`).join(','),
      ...(kind === 'list_set' && list !== undefined
        ? { list_sha256: list.sha256, revoked: list.entries }
        : undefined),
    },
  };
}

function recordOfCertificate(event: CertificateEvent): AuditEvent {
  const { anchorId, kid, serial, sha256, notAfterMs, caller } = event;
  return {
    ...{ ...partsOf(event), keyId: `${caller.tenant}/-`, type: 'certificate.issued' },
    data: {
      ...{ anchor_id: anchorId, kid, serial, certificate_sha256: sha256 },
      ...{ not_after: new Date(notAfterMs).toISOString(), ...factsOf(event) },
    },
  };
}

function partsOf({ operation, caller: { actor, tenant }, opId = randomUUID() }: Agreed) {
  return {
    ...{ actor, tenant, opId, alg: 'none', inputDigest: undefined, keyVersion: 0 },
    ...{ purpose: operation, result: 'ok' },
  };
}

function factsOf({ approval: { approver, id }, place: { environment, plane } }: Agreed) {
  return { approver, approval_id: id, environment, plane };
}
