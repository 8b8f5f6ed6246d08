import { workerData } from 'node:worker_threads';
import { giveWay } from '../src/core/process/worker-thread.ts';
import { createForgottenReader } from '../src/dispatch/forgotten.ts';
import type { BatchJobAnswer, CryptoWorkerData, GenerateAnswer, WorkerJob } from '../src/dispatch/job.ts';
import { createOvertakingReader } from '../src/dispatch/overtaking.ts';
import { createJobRunner } from '../src/dispatch/run-jobs.ts';
import type { Engine } from '../src/engine/engine.ts';
import { createNativeEngine } from '../src/engine/native/index.ts';
import { createOpensslEngine } from '../src/engine/openssl/index.ts';

const { engine: name, options, root, forgotten, overtaking, niceness } = workerData as CryptoWorkerData;
const engine: Engine = name === 'native' ? createNativeEngine(options) : createOpensslEngine(options);
// The native engine's keys are the process's, and the main thread wipes them itself.
const readForgotten =
  name === 'native'
    ? () => {}
    : createForgottenReader(
        forgotten,
        (n) => engine.forget(n),
        () => engine.wipe(),
      );

giveWay(niceness);

const jobs = createJobRunner(engine, root, readForgotten);
const overtakers = createOvertakingReader(overtaking, (job) => ({ ...jobs.batch(job, () => 0), idleUs: 0 }));

/** The whole of a worker: one job in, one answer out, nothing kept but the engine's opened keys. */
export default function work(job: WorkerJob): BatchJobAnswer | GenerateAnswer | boolean | undefined {
  switch (job.kind) {
    case 'batch':
      return jobs.batch(job, overtakers.look);
    case 'generate':
      return jobs.generate(job);
    case 'look':
      overtakers.look();
      return overtakers.connection === job.connection;
    case 'root':
      jobs.useRoot(job.root);
      return undefined;
    case 'warm-up':
      overtakers.connect(job);
      return undefined;
  }
}
