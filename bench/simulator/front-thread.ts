/**
 * What the thread that talks HTTP takes, in microseconds: a turn of its event loop reads all that has come, and only then
 * sends jobs. So where it has much to read, results lie and workers wait.
 */
export interface FrontThread {
  /** Reads a request and queues its call. */
  readonly readUs: number;
  /** Refuses it instead, beyond that. */
  readonly refuseUs: number;
  /** Answers a call that was done. */
  readonly answerUs: number;
  /** Sends a job, and comes to its results. */
  readonly jobUs: number;
}

/** As measured on the machine of docs/performance.md. */
export const frontThread: FrontThread = { readUs: 14, refuseUs: 8, answerUs: 10, jobUs: 10 };
