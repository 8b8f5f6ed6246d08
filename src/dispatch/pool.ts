import { Piscina } from 'piscina';
import type { CryptoWorkerData, Job } from './job.ts';

export interface WorkerPool {
  readonly threads: number;
  /** Jobs that the pool can take now without queueing more than one job behind each worker. */
  readonly freeSlots: number;
  /** False once a worker could not be replaced, when its file fails to load: only a new process helps. */
  readonly alive: boolean;
  /** Rejects only when a worker died, or when none is left. */
  run(job: Job): Promise<unknown>;
  /** Waits for jobs under way, then ends the threads. */
  close(): Promise<void>;
}

/**
 * Jobs under way per thread: one that runs and one that waits in the thread's port, so that the thread need not wait
 * for the main thread between two jobs. More would only move waiting from the fair queue into an unfair one.
 */
const jobsPerThread = 2;

export interface PoolOptions {
  /** Told of a worker that died without a job; jobs are told by their promise. Must not throw. */
  readonly onCrash?: (cause: unknown) => void;
  /** Its default export does a job. */
  readonly worker?: URL;
}

export async function startWorkerPool(
  threads: number,
  workerData: CryptoWorkerData,
  { onCrash = () => {}, worker = new URL('../../workers/crypto.ts', import.meta.url) }: PoolOptions = {},
): Promise<WorkerPool> {
  const piscina = new Piscina({
    filename: worker.href,
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
  const alive = (): boolean => piscina.threads.length > 0;
  // Without a listener the event would end the process.
  piscina.on('error', (cause) => {
    onCrash(cause);
    // Jobs that Piscina holds for a worker that will not come.
    if (!alive()) void piscina.destroy();
  });
  let running = 0;
  await Promise.all(Array.from({ length: threads }, () => piscina.run({ kind: 'warm-up' })));
  return {
    threads,
    get freeSlots() {
      return threads * jobsPerThread - running;
    },
    get alive() {
      return alive();
    },
    async run(job) {
      if (!alive()) throw new Error('no crypto worker is left');
      running++;
      try {
        return await piscina.run(job);
      } finally {
        running--;
      }
    },
    close: async () => {
      if (alive()) await piscina.close({ force: false });
    },
  };
}
