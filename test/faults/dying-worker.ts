import { workerData } from 'node:worker_threads';
import type { WorkerJob } from '../../src/dispatch/job.ts';

/** The message that ends the worker that is to sign it. */
const exits = Buffer.from('the thread ends');

/** Not zero: a worker that starts now does not come up, with an error (1) or without a word (2). */
const { broken } = workerData as { broken: SharedArrayBuffer };
const how = Atomics.load(new Int32Array(broken), 0);
if (how === 1) throw new Error('this worker does not load');
if (how === 2) process.exit(1);

const { default: work } = await import('../../workers/crypto.ts');

/** The real worker, until it is told to die. */
export default function workOrDie(job: WorkerJob): ReturnType<typeof work> {
  if (job.kind === 'batch' && job.batches.some((batch) => Buffer.from(batch).includes(exits)))
    process.exit(1);
  return work(job);
}
