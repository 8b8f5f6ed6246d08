import { workerData } from 'node:worker_threads';
import type { Job } from '../../src/dispatch/job.ts';

/** The message that ends the worker that is to sign it. */
const exits = Buffer.from('the thread ends');

/** Not zero: a worker that starts now does not come up. */
const { broken } = workerData as { broken: SharedArrayBuffer };
if (Atomics.load(new Int32Array(broken), 0) !== 0) throw new Error('this worker does not load');

const { default: work } = await import('../../workers/crypto.ts');

/** The real worker, until it is told to die. */
export default function workOrDie(job: Job | { kind: 'warm-up' }): ReturnType<typeof work> {
  if (job.kind === 'batch' && job.batches.some((batch) => Buffer.from(batch).includes(exits)))
    process.exit(1);
  return work(job);
}
