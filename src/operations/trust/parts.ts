import type { Approval, Approvals } from '../../core/approvals.ts';
import { type Refused, type Result, refuse } from '../../core/result.ts';
import { type Caller, type CallFacts, isOfPlace, permits, placesOfCaller } from '../../core/scope.ts';
import type { EnrolledCertificates } from '../../trust/enrolled.ts';
import type { TrustAnchors } from '../../trust/trust-anchors.ts';
import { operatorTenant } from '../admin.ts';
import type { ReceiptFacts } from '../operation.ts';
import type { TrustJournal } from './journal.ts';
import type { TrustCall, TrustChange } from './requests.ts';

export interface TrustParts {
  /** Opened by the first call: reading the libraries takes as long as a tenth of a start. */
  readonly trust: () => Promise<OpenedTrust>;
  /** Undefined: nobody can agree to anything, so that changes are refused. */
  readonly approvals: Approvals | undefined;
  readonly journal: TrustJournal;
}

export interface OpenedTrust {
  readonly anchors: TrustAnchors;
  readonly enrolled: EnrolledCertificates;
}

/** As trust/anchor-records.ts has it, which is not read before it is needed. */
const ofAll = 'GLOBAL';

const otherTenant = refuse('NoCapability', 'the caller is of another tenant');
const otherPlace = refuse('NoCapability', 'the caller is of another environment or plane');
const operatorsOnly = refuse('NoCapability', 'what all tenants trust is changed by the operator alone');

/** The reason why this caller may not ask there; `changes`: it asks for a change of what is trusted. */
export function refusalOfTrustPlace(caller: Caller, call: TrustCall, changes: boolean): Refused | undefined {
  const { tenant } = call;
  if (tenant !== caller.tenant && tenant !== ofAll) return otherTenant;
  if (!isOfPlace(caller, call)) return otherPlace;
  if (tenant !== ofAll || !changes) return undefined;
  if (caller.tenant !== operatorTenant || !permits(caller, 'kms:admin')) return operatorsOnly;
  // They hold in every environment.
  return placesOfCaller(caller).environments === 'all' ? undefined : otherPlace;
}

const noAgreement = refuse('NoCapability', 'this needs the agreement of a second principal');

/** Uses up the agreement of another to a change. `keyId`: of the anchor that it is about. */
export async function agreementOf(
  { approvals }: TrustParts,
  operation: string,
  { approval, requestSha256 }: TrustChange,
  { tenant, actor }: Caller,
  keyId?: string,
): Promise<Result<Approval>> {
  if (approvals === undefined) return noAgreement;
  return approvals.check(approval, {
    ...{ tenant, operation, actor },
    ...(keyId === undefined ? undefined : { keyId }),
    ...(requestSha256 === undefined ? undefined : { requestSha256 }),
  });
}

/** For capabilities that ask about a change. */
export function factsOfChange({ opId, requestSha256 }: TrustChange): Partial<CallFacts> {
  return {
    ...{ changes: true, opId },
    ...(requestSha256 === undefined ? undefined : { requestSha256: () => requestSha256 }),
  };
}

/** The facts of a call for its receipt; `id`: of the anchor or the certificate that it is about. */
export function receiptOfTrust(call: TrustCall | undefined, id?: string): ReceiptFacts {
  if (call === undefined) return {};
  const { environment, plane } = call;
  return { environment, plane, ...(id === undefined ? undefined : { keyId: id }) };
}
