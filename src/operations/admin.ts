import { ok, refuse } from '../core/result.ts';
import { type Caller, permits } from '../core/scope.ts';
import type { RootKeyCondition, RootKeySourceView, RootKeyView } from '../custody/root-key-view.ts';
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

export interface RootKeyReport extends RootKeyCondition {
  readonly sources: readonly RootKeySourceView[];
  readonly opened: string;
}

const notTheOperator = refuse('NoCapability', 'the root key is for the operator alone');

/** The root key: its generation, its sources, and a rotation that is under way. */
export function rootOperation({ rootKey }: OperationParts): KeyOperation<void, RootKeyReport> {
  return {
    kind: 'keys',
    name: 'root',
    scope: 'kms:admin',
    run: (_, { tenant }) => (tenant === operatorTenant ? ok(reportOf(rootKey)) : notTheOperator),
  };
}

/** Begins to replace the root key; it goes on by itself. */
export function rotateRootOperation({ rootKey }: OperationParts): KeyOperation<void, RootKeyReport> {
  return {
    kind: 'keys',
    name: 'root_rotate',
    scope: 'kms:admin',
    async run(_, { tenant, actor }) {
      if (tenant !== operatorTenant) return notTheOperator;
      const begun = await rootKey.rotate(actor);
      return begun.ok ? ok(reportOf(rootKey)) : begun;
    },
  };
}

function reportOf(rootKey: RootKeyView): RootKeyReport {
  return { ...rootKey.state(), sources: rootKey.sources(), opened: rootKey.opened };
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
