import { setImmediate } from 'node:timers/promises';
import type { Engine, RootRef } from '../engine/engine.ts';
import type { Job } from './job.ts';
import type { WorkerPool } from './pool.ts';
import { createJobRunner } from './run-jobs.ts';

/**
 * The engine on the calling thread in the place of a pool, for who has no threads to spare or wants none started. One job a turn of
 * the event loop, so that a job of 300 us is the longest pause; a call that costs more, such as an RSA key to make, is one of its own.
 */
export function createInlinePool(engine: Engine, root: RootRef): WorkerPool {
  // This thread destroys keys itself, and the engine has forgotten them by then.
  const jobs = createJobRunner(engine, root, () => {});
  let running = 0;
  const run = async (job: Job): Promise<unknown> => {
    running++;
    try {
      await setImmediate();
      return job.kind === 'batch' ? jobs.batch(job, () => 0) : jobs.generate(job);
    } finally {
      running--;
    }
  };
  return {
    threads: 1,
    get freeSlots() {
      return 1 - Math.min(1, running);
    },
    get idleThreads() {
      return running === 0 ? 1 : 0;
    },
    alive: true,
    run,
    runAhead: run,
    useRoot: async (next) => jobs.useRoot(next),
    // Lanes are drained by then.
    close: async () => {},
  };
}
