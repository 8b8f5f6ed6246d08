import { Random } from './random.ts';
import { type ArrivalTimes, checkClass, createArrivalTimes, type TenantClass } from './workload.ts';

/** One tenant's part of what happened within the window; services in microseconds of work. */
export interface TenantOutcome {
  readonly classIndex: number;
  readonly weight: number;
  readonly demandUs: number;
  /** By the prices that the scheduler went by. */
  readonly chargedUs: number;
  /** The time that the workers needed. */
  readonly servedUs: number;
  /** Had calls waiting at every moment of the window. */
  readonly alwaysWaiting: boolean;
}

export interface SimulatedTenant extends TenantOutcome {
  readonly index: number;
  readonly name: string;
  readonly tenantClass: TenantClass;
  readonly random: Random;
  /** Undefined for tenants whose calls replace those that leave the queue. */
  readonly times: ArrivalTimes | undefined;
  /** Calls that such a tenant keeps waiting; 0 for all others. */
  readonly keepsWaiting: number;
  /** Its place among such tenants, or -1. */
  readonly spreadIndex: number;
  waiting: number;
  demandUs: number;
  chargedUs: number;
  servedUs: number;
  alwaysWaiting: boolean;
}

export function createTenants(classes: readonly TenantClass[], seed: number): SimulatedTenant[] {
  const tenants: SimulatedTenant[] = [];
  let saturating = 0;
  for (const [classIndex, tenantClass] of classes.entries()) {
    checkClass(tenantClass);
    const { name, weight, arrivals } = tenantClass;
    for (let number = 0; number < tenantClass.tenants; number++) {
      tenants.push({
        index: tenants.length,
        name: `${name}-${number}`,
        classIndex,
        tenantClass,
        weight,
        // A sequence of its own: the same calls come whatever the other tenants do, so that runs can be compared.
        random: Random.seeded(seed, classIndex * maxTenantsPerClass + number),
        times: createArrivalTimes(arrivals),
        keepsWaiting: arrivals.kind === 'saturating' ? arrivals.waiting : 0,
        spreadIndex: arrivals.kind === 'saturating' ? saturating++ : -1,
        waiting: 0,
        demandUs: 0,
        chargedUs: 0,
        servedUs: 0,
        alwaysWaiting: false,
      });
    }
  }
  return tenants;
}

/** So that no two tenants have the same sequence. */
const maxTenantsPerClass = 2 ** 24;
