import type { Random } from '../../bench/simulator/random.ts';
import { type Call, callClasses, type FairScheduler, type Ticket } from '../../src/queue/scheduler.ts';

/** Without bounds that could refuse a call, so that only the order of service shows. */
export function unbounded(quantumUs: number) {
  return {
    perTenantCalls: Number.POSITIVE_INFINITY,
    perTenantCostUs: Number.POSITIVE_INFINITY,
    totalCalls: Number.POSITIVE_INFINITY,
    quantumUs,
  };
}

export const never = Number.POSITIVE_INFINITY;

export function createCall(tenant: string, costUs: number, callClass: Call['callClass'] = 'sign'): Call {
  return { tenant, callClass, costUs, deadlineAtMs: never };
}

/** What a tenant of a property test asks for. */
export interface Profile {
  readonly weight: number;
  readonly maxCostUs: number;
  readonly classes: number;
}

/** A call of this tenant, in one of its classes, with any cost up to its dearest. */
export function anyCall(tenant: string, { maxCostUs, classes }: Profile, random: Random): Call {
  const callClass = callClasses[random.word() % classes] as Call['callClass'];
  return createCall(tenant, 1 + (random.word() % maxCostUs), callClass);
}

export function offerOrFail<C extends Call>(scheduler: FairScheduler<C>, call: C): Ticket<C> {
  const offer = scheduler.offer(call);
  if (offer.outcome !== 'queued') throw new Error(offer.outcome);
  return offer.ticket;
}

/** Everything that one draw gives. */
export function drawOnce<C extends Call>(
  scheduler: FairScheduler<C>,
  budgetUs: number,
  maxCalls: number,
  nowMs = 0,
): { readonly due: C[]; readonly expired: C[] } {
  const due: Ticket<C>[] = [];
  const expired: Ticket<C>[] = [];
  scheduler.draw(budgetUs, maxCalls, nowMs, due, expired);
  return { due: due.map(({ call }) => call), expired: expired.map(({ call }) => call) };
}
