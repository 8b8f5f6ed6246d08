import { hash } from 'node:crypto';
import type { Refused } from '../../core/result.ts';
import type { CallConditions, CallFacts } from '../../core/scope.ts';
import type { Grant, Limit } from './grant.ts';
import type { Ledger } from './ledger.ts';
import type { LimitCounters } from './limits.ts';

/** The two accounts of uses. */
export interface Accounts {
  readonly counters: LimitCounters;
  readonly ledger: Ledger;
}

/**
 * Undefined where the grant asks nothing of a call. `agreed`: ids of caveats that a second principal has discharged. `endMs`: of
 * the capability as it was minted; uses are kept until then, as wider capabilities count among the same.
 */
export function conditionsOf(
  grant: Grant,
  endMs: number,
  agreed: readonly Uint8Array[],
  accounts: Accounts,
): CallConditions | undefined {
  const limits = grant.limits.filter(({ kind }) => kind !== 'rate');
  if (grant.call.length === 0 && grant.limits.length === 0 && agreed.length === 0) return undefined;
  const uses = limits.filter(({ kind }) => kind === 'max_uses');
  const costs = limits.filter(({ kind }) => kind === 'cost_us');
  const rates = grant.limits.filter(({ kind }) => kind === 'rate');
  const { tenant, expiresAtMs } = grant;
  const { counters, ledger } = accounts;
  return {
    refusal: (call) => first(grant.call, (judge) => judge(call, tenant)),

    use(call, items) {
      // Authentication took one of its rate.
      const refused =
        first(items > 1 ? rates : [], (limit) => counters.take(limit, items - 1)) ??
        first(uses, (limit) => counters.use(limit, items, endMs, tenant));
      if (refused !== undefined) return refused;
      const durable = agreed.length > 0 || (call.changes && uses.length > 0);
      if (!durable) return undefined;
      return ledger.enter({
        tenant,
        uses: uses.map(({ name, count }) => ({ name, most: count, items })),
        agreed: agreed.map((id) => digestOf(id, tenant, call)),
        ...{ usesEndMs: endMs, agreedEndMs: expiresAtMs },
      });
    },

    spend: (costUs) => first(costs, (limit: Limit) => counters.take(limit, costUs)),
  };
}

/** The digest of an agreement, whoever agreed and however often: the op_id is the call's own name. */
function digestOf(id: Uint8Array, tenant: string, { operation, opId }: CallFacts): string {
  const agreed = [Buffer.from(id).toString('hex'), tenant, operation, opId?.toLowerCase() ?? ''];
  return hash('sha256', JSON.stringify(agreed));
}

function first<Item>(
  items: readonly Item[],
  judge: (item: Item) => Refused | undefined,
): Refused | undefined {
  for (const item of items) {
    const refused = judge(item);
    if (refused !== undefined) return refused;
  }
  return undefined;
}
