import type { Refused } from '../core/result.ts';

/** What admission asks of the queue that a call would stand in. */
export interface QueueOutlook {
  /** Why a call of this tenant could not be queued now and served within `deadlineMs`; cheap, nothing is changed. */
  refusal(tenant: string, deadlineMs: number): Refused | undefined;
}
