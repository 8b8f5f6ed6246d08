import { type Cancellation, createCancellation } from '../../src/core/cancellation.ts';
import type { Result } from '../../src/core/result.ts';
import type { LaneCall } from '../../src/queue/lane.ts';
import type { CallClass } from '../../src/queue/scheduler.ts';
import type { Work } from './workload.ts';

/** The end of an admitted call: answered, dropped because it was too late, or dropped because its caller had gone. */
export const endings = ['served', 'expired', 'cancelled'] as const;
export type Ending = (typeof endings)[number];

/** A call as the lane sees it, and what only the simulation knows. */
export class SimulatedCall implements LaneCall<undefined> {
  readonly tenant: string;
  readonly callClass: CallClass;
  readonly costUs: number;
  readonly offeredAtMs: number;
  readonly deadlineAtMs: number;
  readonly cancellation: Cancellation = createCancellation();
  readonly work: Work;
  readonly tenantIndex: number;
  /** The time that a worker will need for it. */
  readonly realUs: number;
  readonly arrivedUs: number;
  /** Undefined while it waits or is under way. */
  ending: Ending | undefined;
  readonly #onSettle: (call: SimulatedCall, outcome: Result<undefined>) => void;

  constructor(
    facts: Pick<
      SimulatedCall,
      'tenant' | 'costUs' | 'deadlineAtMs' | 'work' | 'tenantIndex' | 'realUs' | 'arrivedUs'
    >,
    onSettle: (call: SimulatedCall, outcome: Result<undefined>) => void,
  ) {
    this.tenant = facts.tenant;
    this.callClass = facts.work.callClass;
    this.costUs = facts.costUs;
    this.offeredAtMs = facts.arrivedUs / 1000;
    this.deadlineAtMs = facts.deadlineAtMs;
    this.work = facts.work;
    this.tenantIndex = facts.tenantIndex;
    this.realUs = facts.realUs;
    this.arrivedUs = facts.arrivedUs;
    this.ending = undefined;
    this.#onSettle = onSettle;
  }

  settle(outcome: Result<undefined>): void {
    this.#onSettle(this, outcome);
  }
}
