import { Piscina } from 'piscina';
import type { CryptoWorkerData, Job } from './job.ts';

export interface WorkerPool {
  readonly threads: number;
  /** Jobs that the pool can take now without queueing more than one job behind each worker. */
  readonly freeSlots: number;
  /** Rejects only when a worker died. */
  run(job: Job): Promise<unknown>;
  /** Waits for jobs under way, then ends the threads. */
  close(): Promise<void>;
}

/**
 * Jobs under way per thread: one that runs and one that waits in the thread's port, so that the thread need not wait
 * for the main thread between two jobs. More would only move waiting from the fair queue into an unfair one.
 */
const jobsPerThread = 2;

export async function startWorkerPool(threads: number, workerData: CryptoWorkerData): Promise<WorkerPool> {
  const piscina = new Piscina({
    filename: new URL('../../workers/crypto.ts', import.meta.url).href,
    minThreads: threads,
    maxThreads: threads,
    concurrentTasksPerWorker: jobsPerThread,
    // Ours is the queue that counts; this one only absorbs the moment in which a worker restarts.
    maxQueue: threads * jobsPerThread,
    workerData,
    recordTiming: false,
    // A worker sees nothing of the environment: it needs none, and a crash report then holds none.
    env: {},
  });
  let running = 0;
  await Promise.all(Array.from({ length: threads }, () => piscina.run({ kind: 'warm-up' })));
  return {
    threads,
    get freeSlots() {
      return threads * jobsPerThread - running;
    },
    async run(job) {
      running++;
      try {
        return await piscina.run(job);
      } finally {
        running--;
      }
    },
    close: () => piscina.close({ force: false }),
  };
}
