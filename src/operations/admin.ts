import { ok } from '../core/result.ts';
import { type Caller, permits } from '../core/scope.ts';
import type { LoadReport } from '../observe/load.ts';
import type { KeyOperation, OperationParts } from './operation.ts';

/** The tenant of those who run the service: only its administrators see other tenants' names. */
export const operatorTenant = 'default';

/**
 * True if the caller may see the tenant's name: an administrator of the operator's tenant all, one of another tenant that one,
 * others none.
 */
export function mayKnowOf(caller: Caller | undefined, tenant: string): boolean {
  if (caller === undefined || !permits(caller, 'kms:admin')) return false;
  return caller.tenant === operatorTenant || caller.tenant === tenant;
}

/** Queues, latencies and who uses the workers, now. */
export function loadOperation(parts: OperationParts): KeyOperation<void, LoadReport> {
  return {
    kind: 'keys',
    name: 'load',
    scope: 'kms:admin',
    run: (_, { tenant }) => ok(parts.load(tenant === operatorTenant ? undefined : tenant)),
  };
}
