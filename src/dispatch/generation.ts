import { hrtimeMs } from '../core/clock.ts';
import { failure } from '../core/failure.ts';
import { ok } from '../core/result.ts';
import type { GeneratedKey } from '../engine/engine.ts';
import type { TracedRequest, WorkTimes } from '../observe/tracing.ts';
import type { Carrier, LaneCall } from '../queue/lane.ts';
import type { TellCrash } from './crypto-dispatch.ts';
import type { GenerateAnswer, GenerateJob } from './job.ts';
import type { WorkerPool } from './pool.ts';

/** One key pair to make. */
export interface GenerateCall extends LaneCall<GeneratedKey> {
  readonly job: GenerateJob;
  /** The request that it is for, and its times, where somebody looks at them. */
  readonly request?: TracedRequest | undefined;
  readonly times?: WorkTimes | undefined;
}

/**
 * Makes keys on threads of their own: an RSA-4096 key takes seconds, and nobody's signature waits behind it. One key
 * a job, so that the fair queue decides about each.
 */
export function createGenerationCarrier(pool: WorkerPool, onCrash: TellCrash): Carrier<GenerateCall> {
  return {
    get freeSlots() {
      return pool.freeSlots;
    },
    get idleThreads() {
      return pool.idleThreads;
    },
    threads: pool.threads,
    overtakes: false,
    carry: (calls, costUs) => generateAll(pool, calls, costUs, onCrash),
  };
}

async function generateAll(
  pool: WorkerPool,
  calls: readonly GenerateCall[],
  costUs: number,
  onCrash: TellCrash,
): Promise<undefined> {
  for (const call of calls) {
    const names = call.request === undefined ? [] : [call.request.names()];
    try {
      if (call.times !== undefined) call.times.sentAtMs = hrtimeMs();
      const answer = (await pool.run(call.job, costUs)) as GenerateAnswer;
      if (call.times !== undefined && answer.made) Object.assign(call.times, answer.times);
      if (answer.made) {
        call.settle(ok({ sealed: answer.sealed, publicKey: answer.publicKey }));
        continue;
      }
      onCrash(new Error(`key generation failed: ${answer.code}`), names);
    } catch (cause) {
      onCrash(cause, names);
    }
    call.settle({ ok: false, failure: failure('Internal') });
  }
}
