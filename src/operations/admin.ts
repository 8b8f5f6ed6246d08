import { ok } from '../core/result.ts';
import { type Caller, permits } from '../core/scope.ts';
import type { KeyOperation, OperationParts } from './operation.ts';
import { parseQuery } from './parse.ts';

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

/** GET /admin/load: queues, latencies and who uses the workers, now. */
export function loadOperation(parts: OperationParts): KeyOperation<void> {
  return {
    kind: 'keys',
    name: 'load',
    scope: 'kms:admin',
    parse(request) {
      const query = parseQuery(request.query, []);
      return query.ok ? ok(undefined) : query;
    },
    run: (_, caller) =>
      ok({ status: 200, body: parts.load(caller.tenant === operatorTenant ? undefined : caller.tenant) }),
  };
}
