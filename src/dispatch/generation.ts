import { failure } from '../core/failure.ts';
import { ok } from '../core/result.ts';
import type { GeneratedKey } from '../engine/engine.ts';
import type { Carrier, LaneCall } from '../queue/lane.ts';
import type { GenerateAnswer, GenerateJob } from './job.ts';
import type { WorkerPool } from './pool.ts';

/** One key pair to make. */
export interface GenerateCall extends LaneCall<GeneratedKey> {
  readonly job: GenerateJob;
}

/**
 * Makes keys on threads of their own: an RSA-4096 key takes seconds, and nobody's signature waits behind it. One key
 * a job, so that the fair queue decides about each.
 */
export function createGenerationCarrier(
  pool: WorkerPool,
  onCrash: (cause: unknown) => void,
): Carrier<GenerateCall> {
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
  onCrash: (cause: unknown) => void,
): Promise<undefined> {
  for (const call of calls) {
    try {
      const answer = (await pool.run(call.job, costUs)) as GenerateAnswer;
      if (answer.made) {
        call.settle(ok({ sealed: answer.sealed, publicKey: answer.publicKey }));
        continue;
      }
      onCrash(new Error(`key generation failed: ${answer.code}`));
    } catch (cause) {
      onCrash(cause);
    }
    call.settle({ ok: false, failure: failure('Internal') });
  }
}
