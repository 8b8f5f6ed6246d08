import { MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { threadEntry } from '../core/own-package.ts';
import { workerEnvironment } from '../core/process/worker-thread.ts';
import type { RootRef } from '../engine/engine.ts';
import type { BatchJob, CryptoWorkerData, Job, WorkerJob } from './job.ts';
import { OvertakingSender } from './overtaking.ts';

export interface WorkerPool {
  readonly threads: number;
  /** Jobs that the pool can take now: those whose workers have fewer than they may hold. */
  readonly freeSlots: number;
  /** Threads that have no job at all. */
  readonly idleThreads: number;
  /** False once a worker could not be replaced, when its file fails to load: only a new process helps. */
  readonly alive: boolean;
  /**
   * Goes to the worker with the least under way, which `costUs` is counted to. Rejects only when a worker died, or when
   * none is left.
   */
  run(job: Job, costUs: number): Promise<unknown>;
  /** The same for a batch job that overtakes what lies ready at its worker. */
  runAhead(job: BatchJob, costUs: number): Promise<unknown>;
  /** Resolves when every thread uses this root; one that is replaced later begins with it. */
  useRoot(root: RootRef): Promise<void>;
  /** Waits for jobs under way, then ends the threads. */
  close(): Promise<void>;
}

/**
 * Jobs under way per thread: one that runs, and those that lie ready in the thread's port. Of 300 us each, 16 are 5 ms, as
 * long as a turn of the event loop should ever be. How many of them are used is the queue's decision.
 */
export const jobsPerThread = 16;

/** The data that all workers of a pool get; the pool adds each worker's own. */
export type PoolWorkerData = Omit<CryptoWorkerData, 'overtaking'>;

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
  await Promise.all(workers.map((worker) => worker.warmUp()));
  recount();
  const idlest = (ahead: boolean): CryptoWorker | undefined => {
    let least: CryptoWorker | undefined;
    for (const worker of workers) {
      if (!worker.alive || worker.running >= jobsPerThread) continue;
      if (least === undefined || isBefore(worker, least, ahead)) least = worker;
    }
    // All places are taken: Piscina's own queue has room for as many again.
    return least ?? workers.find((worker) => worker.alive);
  };
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
    run: (job, costUs) => idlest(false)?.run(job, costUs) ?? noneLeft(),
    runAhead: (job, costUs) => idlest(true)?.runAhead(job, costUs) ?? noneLeft(),
    useRoot: async (root) => {
      await Promise.all(workers.map((worker) => worker.useRoot(root)));
    },
    close: async () => {
      await Promise.all(workers.filter((worker) => worker.alive).map((worker) => worker.close()));
    },
  };
}

/**
 * A job that overtakes waits for others that do, and hardly for what lies ready; but a worker that has little of that may be free
 * sooner. In the simulator eight is better than one, and than that alone.
 */
const aheadFactor = 8;

function isBefore(one: CryptoWorker, other: CryptoWorker, ahead: boolean): boolean {
  const factor = ahead ? aheadFactor - 1 : 0;
  return one.costUs + factor * one.aheadUs < other.costUs + factor * other.aheadUs;
}

function noneLeft(): Promise<never> {
  return Promise.reject(new Error('no crypto worker is left'));
}

interface CryptoWorker {
  readonly alive: boolean;
  /** Jobs under way, and what they cost. */
  readonly running: number;
  readonly costUs: number;
  /** Of it, of jobs that overtake. */
  readonly aheadUs: number;
  /** Gives the thread its way for jobs that overtake; again after each of its deaths. */
  warmUp(): Promise<void>;
  run(job: Job, costUs: number): Promise<unknown>;
  runAhead(job: BatchJob, costUs: number): Promise<unknown>;
  useRoot(root: RootRef): Promise<void>;
  close(): Promise<void>;
}

function createWorker(
  workerData: PoolWorkerData,
  { onCrash = () => {}, worker = threadEntry('crypto') }: PoolOptions,
  changed: () => void,
): CryptoWorker {
  const overtaking = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  // Piscina hands these on as they are when it starts a thread.
  const data: { -readonly [Name in keyof CryptoWorkerData]: CryptoWorkerData[Name] } = {
    ...workerData,
    overtaking,
  };
  const piscina = new Piscina({
    filename: worker.href,
    minThreads: 1,
    maxThreads: 1,
    // One more looks for those that overtake.
    concurrentTasksPerWorker: jobsPerThread + 1,
    // Ours is the queue that counts; this one only absorbs the moment in which the worker restarts.
    maxQueue: jobsPerThread + 1,
    workerData: data,
    recordTiming: false,
    env: workerEnvironment(),
  });
  let alive = true;
  let running = 0;
  let costUs = 0;
  let aheadUs = 0;
  let sender: OvertakingSender | undefined;
  let connections = 0;
  const count = (by: 1 | -1, jobCostUs: number): void => {
    running += by;
    costUs = running === 0 ? 0 : costUs + by * jobCostUs;
    changed();
  };
  const post = (job: WorkerJob): Promise<unknown> => piscina.run(job);
  const run = async (job: Job, jobCostUs: number): Promise<unknown> => {
    count(1, jobCostUs);
    try {
      return await post(job);
    } finally {
      count(-1, jobCostUs);
    }
  };
  const warmUp = async (): Promise<void> => {
    const { port1, port2 } = new MessageChannel();
    const connection = ++connections;
    await piscina.run({ kind: 'warm-up', port: port2, connection } satisfies WorkerJob, {
      transferList: [port2],
    });
    sender?.close();
    sender = new OvertakingSender(port1, connection, overtaking, post);
  };
  // Piscina decides right behind this event whether it starts another one.
  piscina.on('workerDestroy', () => {
    sender?.close();
    sender = undefined;
    queueMicrotask(() => {
      alive = piscina.threads.length > 0;
      if (alive) warmUp().catch(onCrash);
      // Jobs that Piscina holds for a worker that will not come.
      else void piscina.destroy();
      changed();
    });
  });
  // Without a listener the event would end the process.
  piscina.on('error', onCrash);
  return {
    get alive() {
      return alive;
    },
    get running() {
      return running;
    },
    get costUs() {
      return costUs;
    },
    get aheadUs() {
      return aheadUs;
    },
    warmUp,
    run,
    async runAhead(job, jobCostUs) {
      // A thread that has just been replaced has no way for it yet, and nothing that could be overtaken.
      if (sender === undefined) return run(job, jobCostUs);
      count(1, jobCostUs);
      aheadUs += jobCostUs;
      try {
        return await sender.send(job);
      } finally {
        count(-1, jobCostUs);
        aheadUs = running === 0 ? 0 : aheadUs - jobCostUs;
      }
    },
    async useRoot(root) {
      data.root = root;
      if (!alive) return;
      try {
        await post({ kind: 'root', root });
      } catch (cause) {
        // It died meanwhile, and the next one begins with this root.
        onCrash(cause);
      }
    },
    close: async () => {
      await piscina.close({ force: false });
      sender?.close();
    },
  };
}
