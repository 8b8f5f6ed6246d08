import { type Refused, type Result, refuse, refuseByState } from '../../core/result.ts';
import { type Caller, isOfPlace } from '../../core/scope.ts';
import type { Agreed, KeyHandle } from '../../keys/keyring.ts';
import { type LifecycleState, lifecycleOf } from '../../keys/lifecycle/states.ts';
import type { OperationParts, Step } from '../operation.ts';
import { type LifecycleParts, usualLifecycle } from './parts.ts';
import type { ApprovableCall, IdentifiedCall, PlacedCall } from './requests.ts';

export function lifecycleParts({ lifecycle }: Pick<OperationParts, 'lifecycle'>): LifecycleParts {
  return lifecycle ?? usualLifecycle;
}

const noPlacement = refuse(
  'NoCapability',
  'the identity of the caller says nothing of environment and plane',
);
const otherTenant = refuse('NoCapability', 'the caller is of another tenant');
const otherPlace = refuse('NoCapability', 'the caller is not of this environment and plane');
const otherKeyPlace = refuse('NoCapability', 'the key is of another environment or plane');
const otherModule = refuse('PolicyViolation', 'the access of this key does not include the module');
const revoked = refuseByState('destroyed', 'the key is revoked');
const needsActive = refuseByState(
  'inactive',
  'only an active key does this: it is replaced, archived or past its end',
);

/** The refusal of a call for a place that is not the caller's. */
export function refusalOfPlace(call: PlacedCall, caller: Caller): Refused | undefined {
  if (call.tenant !== caller.tenant) return otherTenant;
  return isOfPlace(caller, call) ? undefined : caller.placement === undefined ? noPlacement : otherPlace;
}

/** The key that a call names, where the caller and the call are of its place: at once where it is in memory. */
export function identified(
  { keyring }: Pick<OperationParts, 'keyring'>,
  call: IdentifiedCall,
  caller: Caller,
): Step<KeyHandle> {
  const refused = refusalOfPlace(call, caller);
  if (refused !== undefined) return refused;
  const found = keyring.findByKeyId(caller.tenant, call.keyId.toLowerCase());
  return found instanceof Promise ? found.then((later) => ofPlace(later, call)) : ofPlace(found, call);
}

function ofPlace(found: Result<KeyHandle>, { environment, plane }: PlacedCall): Result<KeyHandle> {
  if (!found.ok) return found;
  const { placement } = found.value.head;
  return placement?.environment === environment && placement.plane === plane ? found : otherKeyPlace;
}

/** Of the version in the handle, now. */
export function stateOf(
  parts: Pick<OperationParts, 'lifecycle' | 'clock'>,
  { head, version }: Pick<KeyHandle, 'head' | 'version'>,
): LifecycleState {
  return lifecycleOf(head, version, parts.clock.utcMs(), lifecycleParts(parts).graceMs);
}

/** The refusal of a version that makes nothing new. */
export function refusalUnlessActive(parts: OperationParts, handle: KeyHandle): Refused | undefined {
  const state = stateOf(parts, handle);
  if (state === 'active') return undefined;
  return state === 'destroyed' ? revoked : needsActive;
}

/** The refusal of a version that opens nothing any more. */
export function refusalIfRevoked(parts: OperationParts, handle: KeyHandle): Refused | undefined {
  return stateOf(parts, handle) === 'destroyed' ? revoked : undefined;
}

/** The refusal of a module that may not use the key. */
export function refusalOfModule({ head: { access } }: KeyHandle, caller: Caller): Refused | undefined {
  const { allowedModules } = access ?? {};
  if (allowedModules === undefined) return undefined;
  const { module } = caller.placement ?? {};
  return module !== undefined && allowedModules.includes(module) ? undefined : otherModule;
}

const noAgreement = refuse('NoCapability', 'this needs the agreement of a second principal');

/** What an agreement has to be for, besides its tenant. */
interface AgreedTo {
  readonly operation: string;
  readonly keyId?: string;
  readonly requestSha256?: string;
}

/** Uses an agreement up for this change; a refusal where there is none. */
export function agreementTo(
  parts: Pick<OperationParts, 'lifecycle'>,
  { approval }: ApprovableCall,
  { tenant, actor }: Caller,
  change: AgreedTo,
): Agreed {
  const { approvals } = lifecycleParts(parts);
  return async () => {
    if (approvals === undefined || approval === undefined) return noAgreement;
    const checked = await approvals.check(approval, { tenant, actor, ...change });
    return checked.ok ? undefined : checked;
  };
}

/** The refusal of a change for which no agreement came at all. */
export function refusalWithoutAgreement({ approval }: ApprovableCall): Refused | undefined {
  return approval === undefined ? noAgreement : undefined;
}

/**
 * Asks for the agreement that the key's access demands of each use: without a promise where it demands none. Using an agreement up
 * takes a write to the disk, in which the key may have come to another state.
 */
export function agreedUse<T>(
  parts: Pick<OperationParts, 'lifecycle' | 'keyring'>,
  call: IdentifiedCall & ApprovableCall,
  caller: Caller,
  { operation, refusal, handle }: AgreedUse,
  goOn: () => Step<T>,
): Step<T> {
  if (handle.head.access?.requiresApproval !== true) return goOn();
  const keyId = call.keyId.toLowerCase();
  return agreementTo(parts, call, caller, { operation, keyId })().then(async (refused) => {
    if (refused !== undefined) return refused;
    const now = await identified(parts, call, caller);
    return now.ok ? (refusal(now.value) ?? goOn()) : now;
  });
}

interface AgreedUse {
  readonly operation: string;
  readonly handle: KeyHandle;
  /** Of the state in which the key then is. */
  readonly refusal: (handle: KeyHandle) => Refused | undefined;
}
