import type { Refused } from '../core/result.ts';

/** The questions of admission to the queue that a call would stand in. */
export interface QueueOutlook {
  /** The reason why a call of this tenant could not be queued now and served within `deadlineMs`; cheap, nothing is changed. */
  refusal(tenant: string, deadlineMs: number): Refused | undefined;
}
