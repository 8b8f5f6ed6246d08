import { hrtimeMs } from '../core/clock.ts';
import { responsesFor } from '../engine/batch.ts';
import type { Engine, EngineErrorCode, RootRef } from '../engine/engine.ts';
import type { RequestNames } from '../observe/tracing.ts';
import type { BatchJob, BatchJobAnswer, BatchTimes, GenerateAnswer, GenerateJob } from './job.ts';

export interface JobRunner {
  /** `look` does what overtakes this job, and says how many milliseconds that took. */
  batch(job: BatchJob, look: () => number): BatchJobAnswer;
  generate(job: GenerateJob): GenerateAnswer;
  /** From now on this is the root. */
  useRoot(root: RootRef): void;
}

/** Does jobs on the thread that calls. `beforeEach`: called before the engine is, for keys that were destroyed meanwhile. */
export function createJobRunner(engine: Engine, rootAtFirst: RootRef, beforeEach: () => void): JobRunner {
  let root = rootAtFirst;
  let lastEndedAtMs = hrtimeMs();
  return {
    batch({ batches, requests }, look) {
      const beganMs = hrtimeMs();
      const idleUs = (beganMs - lastEndedAtMs) * 1_000;
      let overtakenMs = 0;
      const responses = responsesFor(batches);
      const times: BatchTimes[] | undefined = requests === undefined ? undefined : [];
      for (const [index, request] of batches.entries()) {
        overtakenMs += look();
        beforeEach();
        const response = responses[index] as Uint8Array;
        if (times === undefined) engine.run(root, request, response);
        else times.push(runTimed(engine, root, request, response, requests?.[index]));
      }
      const endedAtMs = hrtimeMs();
      lastEndedAtMs = endedAtMs;
      const busyUs = (endedAtMs - beganMs - overtakenMs) * 1_000;
      return { responses, busyUs, idleUs, endedAtMs, ...(times === undefined ? undefined : { times }) };
    },
    useRoot(next) {
      root = next;
    },
    generate({ keyType, tenant, aad }) {
      beforeEach();
      try {
        const beganAtMs = hrtimeMs();
        const key = engine.generate(root, keyType, tenant, aad);
        return { made: true, ...key, times: { beganAtMs, endedAtMs: hrtimeMs() } };
      } catch (cause) {
        // Errors lose their class and code between threads; the code is all that is worth keeping.
        return { made: false, code: (cause as { code?: EngineErrorCode }).code ?? 'UNKNOWN' };
      }
    },
  };
}

/** An error names the requests, as others do not. */
function runTimed(
  engine: Engine,
  root: RootRef,
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
