import { workerData } from 'node:worker_threads';
import { hrtimeMs } from '../src/core/clock.ts';
import { giveWay } from '../src/core/worker-thread.ts';
import { createForgottenReader } from '../src/dispatch/forgotten.ts';
import type {
  BatchJob,
  BatchJobAnswer,
  BatchTimes,
  CryptoWorkerData,
  GenerateAnswer,
  WorkerJob,
} from '../src/dispatch/job.ts';
import { createOvertakingReader } from '../src/dispatch/overtaking.ts';
import { responsesFor } from '../src/engine/batch.ts';
import type { Engine, EngineErrorCode } from '../src/engine/engine.ts';
import { createNativeEngine } from '../src/engine/native/index.ts';
import { createOpensslEngine } from '../src/engine/openssl/index.ts';
import type { RequestNames } from '../src/observe/tracing.ts';

const { engine: name, options, forgotten, overtaking, niceness } = workerData as CryptoWorkerData;
let { root } = workerData as CryptoWorkerData;
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

let lastEndedAtMs = hrtimeMs();
const overtakers = createOvertakingReader(overtaking, (job) => ({ ...runBatches(job, () => 0), idleUs: 0 }));

/** The whole of a worker: one job in, one answer out, nothing kept but the engine's opened keys. */
export default function work(job: WorkerJob): BatchJobAnswer | GenerateAnswer | boolean | undefined {
  switch (job.kind) {
    case 'batch':
      return runBatches(job, overtakers.look);
    case 'generate':
      readForgotten();
      try {
        const beganAtMs = hrtimeMs();
        const key = engine.generate(root, job.keyType, job.tenant, job.aad);
        return { made: true, ...key, times: { beganAtMs, endedAtMs: hrtimeMs() } };
      } catch (cause) {
        // Errors lose their class and code between threads; the code is all that is worth keeping.
        return { made: false, code: (cause as { code?: EngineErrorCode }).code ?? 'UNKNOWN' };
      }
    case 'look':
      overtakers.look();
      return overtakers.connection === job.connection;
    case 'root':
      root = job.root;
      return undefined;
    case 'warm-up':
      overtakers.connect(job);
      return undefined;
  }
}

/** `look` does what overtakes this job, and says how long that took. */
function runBatches({ batches, requests }: BatchJob, look: () => number): BatchJobAnswer {
  const beganMs = hrtimeMs();
  const idleUs = (beganMs - lastEndedAtMs) * 1_000;
  let overtakenMs = 0;
  const responses = responsesFor(batches);
  const times: BatchTimes[] | undefined = requests === undefined ? undefined : [];
  for (const [index, request] of batches.entries()) {
    overtakenMs += look();
    // Keys may have been destroyed since the last one.
    readForgotten();
    if (times === undefined) engine.run(root, request, responses[index] as Uint8Array);
    else times.push(runTimed(request, responses[index] as Uint8Array, requests?.[index]));
  }
  const endedAtMs = hrtimeMs();
  lastEndedAtMs = endedAtMs;
  const busyUs = (endedAtMs - beganMs - overtakenMs) * 1_000;
  return { responses, busyUs, idleUs, endedAtMs, ...(times === undefined ? undefined : { times }) };
}

/** An error names the requests, as others do not. */
function runTimed(
  request: Uint8Array,
  response: Uint8Array,
  names: readonly RequestNames[] = [],
): BatchTimes {
  const beganAtMs = hrtimeMs();
  try {
    engine.run(root, request, response);
  } catch (cause) {
    const requests = names.map(({ requestId, traceparent }) => `${requestId} ${traceparent ?? ''}`.trimEnd());
    throw new Error(`the engine failed in a batch of the requests ${requests.join(', ')}`, { cause });
  }
  return { beganAtMs, endedAtMs: hrtimeMs() };
}
