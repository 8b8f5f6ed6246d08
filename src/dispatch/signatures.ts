import type { QueueOutlook } from '../admission/admission.ts';
import type { CostMeter } from '../admission/costs.ts';
import { failure } from '../core/failure.ts';
import { ok, type Refused, type Result } from '../core/result.ts';
import { type BatchItem, type BatchResult, encodeBatch, readResults } from '../engine/batch.ts';
import type { Carrier, Lane, LaneCall } from './lane.ts';
import type { WorkerPool } from './pool.ts';

/** One or more signatures to make or verify: they stay together, in one job. */
export interface SignatureCall extends LaneCall<readonly BatchResult[]> {
  readonly items: readonly BatchItem[];
  /** One per item; learns what the item took. */
  readonly meters: readonly CostMeter[];
}

/** Signs and verifies on the worker pool: all calls of a job become one batch. */
export function createSignatureCarrier(
  pool: WorkerPool,
  onCrash: (cause: unknown) => void,
): Carrier<SignatureCall> {
  return {
    get freeSlots() {
      return pool.freeSlots;
    },
    threads: pool.threads,
    async carry(calls) {
      const items =
        calls.length === 1 ? (calls[0] as SignatureCall).items : calls.flatMap((call) => call.items);
      let response: Uint8Array;
      try {
        response = (await pool.run({ kind: 'batch', request: encodeBatch(items) })) as Uint8Array;
      } catch (cause) {
        onCrash(cause);
        for (const call of calls) call.settle(workerDied);
        return;
      }
      const results = readResults(items, response);
      let first = 0;
      for (const call of calls) {
        const own = calls.length === 1 ? results : results.slice(first, first + call.items.length);
        first += call.items.length;
        for (let n = 0; n < own.length; n++)
          call.meters[n]?.observe((own[n] as BatchResult).elapsedNs / 1000);
        call.settle(ok(own));
      }
    },
  };
}

const workerDied = { ok: false, failure: failure('Internal') } as const satisfies Refused;

/** What a request path asks for: items that stay together, for one tenant, until a deadline. */
export interface CryptoLane extends QueueOutlook {
  run(
    work: Pick<SignatureCall, 'callClass' | 'items' | 'meters'>,
    on: Pick<SignatureCall, 'tenant' | 'offeredAtMs' | 'deadlineAtMs' | 'cancellation'>,
  ): Promise<Result<readonly BatchResult[]>>;
}

export function createCryptoLane(
  lane: Lane<readonly BatchResult[], SignatureCall>,
  queueOf: (tenant: string) => string,
): CryptoLane {
  return {
    refusal: (tenant, deadlineMs) => lane.refusal(queueOf(tenant), deadlineMs),
    run: ({ callClass, items, meters }, { tenant, offeredAtMs, deadlineAtMs, cancellation }) =>
      new Promise((settle) => {
        // Nothing to compute, such as signatures by destroyed keys only.
        if (items.length === 0) return settle(ok([]));
        let costUs = 0;
        for (const meter of meters) costUs += meter.costUs;
        const offered = lane.offer({
          tenant: queueOf(tenant),
          callClass,
          costUs,
          offeredAtMs,
          deadlineAtMs,
          cancellation,
          items,
          meters,
          settle,
        });
        if (!offered.ok) settle(offered);
      }),
  };
}
