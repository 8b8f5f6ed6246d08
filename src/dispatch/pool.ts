import { Piscina } from 'piscina';
import { workerEnvironment } from '../core/worker-environment.ts';
import type { CryptoWorkerData, Job } from './job.ts';

export interface WorkerPool {
  readonly threads: number;
  /** Jobs that the pool can take now without queueing more than one job behind each worker. */
  readonly freeSlots: number;
  /** Threads that have no job at all. */
  readonly idleThreads: number;
  /** False once a worker could not be replaced, when its file fails to load: only a new process helps. */
  readonly alive: boolean;
  /** Only a batch job is interruptible. */
  run(job: Job, interruptible?: boolean): RunningJob;
  /** Waits for jobs under way, then ends the threads. */
  close(): Promise<void>;
}

export interface RunningJob {
  /** Rejects only when a worker died, or when none is left. */
  readonly answer: Promise<unknown>;
  /** Calls back what has not been begun of this job, and of all others that its worker has and that may be interrupted. */
  interrupt(): void;
}

/**
 * Jobs under way per thread: one that runs and one that waits in the thread's port, so that the thread need not wait
 * for the main thread between two jobs. More would only move waiting from the fair queue into an unfair one.
 */
const jobsPerThread = 2;

/** The data that all workers of a pool get; the pool adds each worker's own. */
export type PoolWorkerData = Omit<CryptoWorkerData, 'interrupts'>;

export interface PoolOptions {
  /** Told of a worker that died without a job; jobs are told by their promise. Must not throw. */
  readonly onCrash?: (cause: unknown) => void;
  /** Its default export does a job. */
  readonly worker?: URL;
}

/** One Piscina for each thread, so that it is decided here, and known, which thread a job goes to: the idlest. */
export async function startWorkerPool(
  threads: number,
  workerData: PoolWorkerData,
  options: PoolOptions = {},
): Promise<WorkerPool> {
  let freeSlots = 0;
  let idleThreads = 0;
  // Called with each job and each death. Counting when somebody asks, several times for each call, took the main thread 10 us
  // of an Ed25519 signature with 48 workers.
  const recount = () => {
    const someLive = workers.some((worker) => worker.alive);
    freeSlots = 0;
    idleThreads = 0;
    for (const { alive, running } of workers) {
      if (alive) freeSlots += jobsPerThread - running;
      // A job without any worker left fails at once, which is better than waiting for a worker that will not come.
      if (running === 0 && (alive || !someLive)) idleThreads++;
    }
  };
  const workers = Array.from({ length: threads }, () => createWorker(workerData, options, recount));
  await Promise.all(workers.map((worker) => worker.run({ kind: 'warm-up' })));
  return {
    threads,
    get freeSlots() {
      return freeSlots;
    },
    get idleThreads() {
      return idleThreads;
    },
    get alive() {
      return workers.every((worker) => worker.alive);
    },
    run(job, interruptible = false) {
      let idlest: CryptoWorker | undefined;
      for (const worker of workers) {
        if (worker.alive && (idlest === undefined || worker.running < idlest.running)) idlest = worker;
      }
      if (idlest === undefined) {
        return { answer: Promise.reject(new Error('no crypto worker is left')), interrupt() {} };
      }
      const { run, interrupt } = idlest;
      return { answer: run(job, interruptible), interrupt };
    },
    close: async () => {
      await Promise.all(workers.filter((worker) => worker.alive).map((worker) => worker.close()));
    },
  };
}

interface CryptoWorker {
  readonly alive: boolean;
  /** Jobs under way. */
  readonly running: number;
  run(job: Job | { readonly kind: 'warm-up' }, interruptible?: boolean): Promise<unknown>;
  interrupt(): void;
  close(): Promise<void>;
}

const cryptoWorker = new URL('../../workers/crypto.ts', import.meta.url);

function createWorker(
  workerData: PoolWorkerData,
  { onCrash = () => {}, worker = cryptoWorker }: PoolOptions,
  changed: () => void,
): CryptoWorker {
  const interrupts = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  const calledBack = new Int32Array(interrupts);
  const data: CryptoWorkerData = { ...workerData, interrupts };
  const piscina = new Piscina({
    filename: worker.href,
    minThreads: 1,
    maxThreads: 1,
    concurrentTasksPerWorker: jobsPerThread,
    // Ours is the queue that counts; this one only absorbs the moment in which the worker restarts.
    maxQueue: jobsPerThread,
    workerData: data,
    recordTiming: false,
    env: workerEnvironment(),
  });
  let alive = true;
  let running = 0;
  const count = (by: 1 | -1): void => {
    running += by;
    changed();
  };
  // Piscina decides right behind this event whether it starts another one.
  piscina.on('workerDestroy', () =>
    queueMicrotask(() => {
      alive = piscina.threads.length > 0;
      // Jobs that Piscina holds for a worker that will not come.
      if (!alive) void piscina.destroy();
      changed();
    }),
  );
  // Without a listener the event would end the process.
  piscina.on('error', onCrash);
  /** Of the last job that may be interrupted. */
  let lastNumber = 0;
  return {
    get alive() {
      return alive;
    },
    get running() {
      return running;
    },
    async run(job, interruptible = false) {
      count(1);
      if (interruptible) lastNumber = (lastNumber + 1) | 0;
      try {
        return await piscina.run(interruptible ? { ...job, number: lastNumber } : job);
      } finally {
        count(-1);
      }
    },
    interrupt: () => void Atomics.store(calledBack, 0, lastNumber),
    close: async () => {
      await piscina.close({ force: false });
    },
  };
}
