import type { Clock } from '../core/clock.ts';
import { type Carrier, Lane, type LaneObserver, type LaneOptions } from '../queue/lane.ts';
import type { CryptoCall, CryptoLane } from './crypto-dispatch.ts';

/** The settings that a home's lane has in common with those of our engine. Asked each time: a reload may change them. */
export interface HomeLaneSettings extends Pick<LaneOptions, 'jobBudgetUs' | 'jobMaxCalls'> {
  readonly perTenantCalls: number;
  readonly totalCalls: number;
  /** Milliseconds; more work than fits into them is not taken. */
  readonly deadlineMs: number;
}

/**
 * Work that lies ready in a home for each of its threads, in microseconds: a call comes after the way there and back, which is
 * 1 ms. Of calls that take longer, one lies ready in all.
 */
const readyUs = 1_000;

/**
 * The one lane of a home that is not our engine. Its bounds are its own, so that a slow home fills nothing else. Little lies
 * ready in it and none is overtaken: where calls are slow, whoever comes next would wait for both.
 */
export function createHomeLane(
  settings: HomeLaneSettings,
  parts: {
    readonly carrier: Carrier<CryptoCall>;
    readonly clock: Clock;
    readonly weightOf?: (tenant: string) => number;
    readonly observer?: LaneObserver;
  },
): CryptoLane {
  const { jobBudgetUs, jobMaxCalls } = settings;
  const limits = {
    get perTenantCalls() {
      return settings.perTenantCalls;
    },
    get totalCalls() {
      return settings.totalCalls;
    },
    get perTenantCostUs() {
      return settings.deadlineMs * 1000 * parts.carrier.threads;
    },
    quantumUs: jobBudgetUs,
  };
  const options: LaneOptions = {
    limits,
    jobBudgetUs,
    soloBudgetUs: jobBudgetUs,
    jobMaxCalls,
    readyLeastUs: readyUs,
    readyMostUs: readyUs,
    get queueTargetMs() {
      return settings.deadlineMs;
    },
    runHereUpToUs: 0,
  };
  return new Lane(options, parts);
}
