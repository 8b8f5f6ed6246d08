import { setPriority } from 'node:os';
import { workerData } from 'node:worker_threads';
import { createForgottenReader } from '../src/dispatch/forgotten.ts';
import {
  type BatchJob,
  type CryptoWorkerData,
  type GenerateAnswer,
  interrupted,
  type Job,
} from '../src/dispatch/job.ts';
import { responsesFor } from '../src/engine/batch.ts';
import type { Engine, EngineErrorCode } from '../src/engine/engine.ts';
import { createNativeEngine } from '../src/engine/native/index.ts';
import { createOpensslEngine } from '../src/engine/openssl/index.ts';

const { engine: name, options, root, forgotten, interrupts, niceness } = workerData as CryptoWorkerData;
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

// Linux keeps the nice value of each thread: this is the calling one's, and needs no privilege to go up.
if (niceness > 0) setPriority(0, niceness);

const calledBack = new Int32Array(interrupts);

/** The whole of a worker: one job in, one answer out, nothing kept but the engine's opened keys. */
export default function work(job: Job | { kind: 'warm-up' }): Uint8Array[] | GenerateAnswer | undefined {
  readForgotten();
  switch (job.kind) {
    case 'batch':
      return runBatches(job);
    case 'generate':
      try {
        return { made: true, ...engine.generate(root, job.keyType, job.tenant, job.aad) };
      } catch (cause) {
        // Errors lose their class and code between threads; the code is all that is worth keeping.
        return { made: false, code: (cause as { code?: EngineErrorCode }).code ?? 'UNKNOWN' };
      }
    case 'warm-up':
      return undefined;
  }
}

function runBatches(job: BatchJob): Uint8Array[] {
  const responses = responsesFor(job.batches);
  for (const [index, request] of job.batches.entries()) {
    if (interrupted(job, calledBack)) return responses.slice(0, index);
    engine.run(root, request, responses[index] as Uint8Array);
  }
  return responses;
}
