import { workKinds } from '../algorithms/work-kinds.ts';
import { hrtimeMs } from '../core/clock.ts';
import { failure } from '../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import {
  type BatchItem,
  type BatchResult,
  encodeBatch,
  encodeBatches,
  readResults,
  responseFor,
} from '../engine/batch.ts';
import { softwareBackend } from '../keys/record.ts';
import { type RequestNames, type TracedRequest, timed, type WorkTimes } from '../observe/tracing.ts';
import type { CostMeter } from '../queue/cost-meter.ts';
import type { Carrier, JobEnd, Lane, LaneCall } from '../queue/lane.ts';
import type { QueueOutlook } from '../queue/outlook.ts';
import { createDrawnValues, withoutRepeats } from './drawn-values.ts';
import type { BatchJob, BatchJobAnswer, BatchTimes } from './job.ts';
import { costOf, homeOfAll, type Pack, packWorks, unpack } from './packs.ts';
import type { WorkerPool } from './pool.ts';
import type { BatchWork } from './work.ts';

/** One or more signatures to make or verify: they stay together, in one job. */
export interface CryptoCall extends LaneCall<readonly BatchResult[]> {
  readonly items: readonly BatchItem[];
  /** One per item; learns what the item took. */
  readonly meters: readonly CostMeter[];
  /** The request that it is for. */
  readonly request?: TracedRequest | undefined;
  /** Where somebody looks at times: those of this call. */
  readonly times?: WorkTimes | undefined;
}

/** Told of a failure of the engine or its thread, with the names of the requests that are answered 500 for it. */
export type TellCrash = (cause: unknown, requests: readonly RequestNames[]) => void;

/** Signs and verifies on the worker pool: all calls of a job become one batch. `runBatch` does one on this thread. */
export function createBatchCarrier(
  pool: WorkerPool,
  onCrash: TellCrash,
  runBatch?: (request: Uint8Array, response: Uint8Array) => void,
): Carrier<CryptoCall> {
  return {
    ...(runBatch === undefined ? undefined : { runHere: (calls) => runHere(calls, runBatch, onCrash) }),
    get freeSlots() {
      return pool.freeSlots;
    },
    get idleThreads() {
      return pool.idleThreads;
    },
    threads: pool.threads,
    overtakes: true,
    carry(calls, costUs, ahead) {
      // A job that overtakes is short, and is not overtaken itself.
      const slices = ahead ? [calls] : sliceByCost(calls);
      const batches = encodeBatches(slices.map(itemsOf));
      const job: BatchJob = calls.some(isTimed)
        ? { kind: 'batch', batches, requests: slices.map(namesOf) }
        : { kind: 'batch', batches };
      if (job.requests !== undefined) noteSent(calls);
      const answer = ahead ? pool.runAhead(job, costUs) : pool.run(job, costUs);
      return settleAll(slices, answer as Promise<BatchJobAnswer>, onCrash);
    },
  };
}

function runHere(
  calls: readonly CryptoCall[],
  runBatch: (request: Uint8Array, response: Uint8Array) => void,
  onCrash: TellCrash,
): void {
  const request = encodeBatch(itemsOf(calls));
  const response = responseFor(request);
  const beganAtMs = calls.some(isTimed) ? hrtimeMs() : undefined;
  try {
    runBatch(request, response);
  } catch (cause) {
    onCrash(cause, namesOf(calls));
    for (const call of calls) call.settle(workerDied);
    return;
  }
  if (beganAtMs !== undefined) noteEngine(calls, { beganAtMs, endedAtMs: hrtimeMs() });
  settleSlice(calls, response, onCrash);
}

async function settleAll(
  slices: readonly (readonly CryptoCall[])[],
  answering: Promise<BatchJobAnswer>,
  onCrash: TellCrash,
): Promise<JobEnd | undefined> {
  let answer: BatchJobAnswer;
  try {
    answer = await answering;
  } catch (cause) {
    onCrash(cause, namesOf(slices.flat()));
    for (const call of slices.flat()) call.settle(workerDied);
    return undefined;
  }
  const lagMs = hrtimeMs() - answer.endedAtMs;
  if (answer.times !== undefined)
    for (const [index, slice] of slices.entries()) noteEngine(slice, answer.times[index]);
  for (const [index, slice] of slices.entries())
    settleSlice(slice, answer.responses[index] as Uint8Array, onCrash);
  return { busyUs: answer.busyUs, idleUs: answer.idleUs, lagMs };
}

/** Of the process: workers come and go, and a source that repeats may be that of another one. */
const drawnValues = createDrawnValues();
const drawnTwice = new Error('the random source of the engine repeats: what was encrypted is thrown away');

function settleSlice(calls: readonly CryptoCall[], response: Uint8Array, onCrash: TellCrash): void {
  const items = itemsOf(calls);
  const results = withoutRepeats(drawnValues, items, readResults(items, response), () =>
    onCrash(drawnTwice, namesOf(calls)),
  );
  let first = 0;
  for (const call of calls) {
    const own = calls.length === 1 ? results : results.slice(first, first + call.items.length);
    first += call.items.length;
    for (let n = 0; n < own.length; n++) call.meters[n]?.observe((own[n] as BatchResult).elapsedNs / 1000);
    call.settle(ok(own));
  }
}

function isTimed({ times }: CryptoCall): boolean {
  return times !== undefined;
}

function namesOf(calls: readonly CryptoCall[]): readonly RequestNames[] {
  const requests = new Set(calls.map(({ request }) => request));
  return [...requests].flatMap((request) => request?.names() ?? []);
}

function noteSent(calls: readonly CryptoCall[]): void {
  const nowMs = hrtimeMs();
  for (const { times } of calls) if (times !== undefined) times.sentAtMs = nowMs;
}

function noteEngine(calls: readonly CryptoCall[], engine: BatchTimes | undefined): void {
  for (const { times } of calls) if (times !== undefined) Object.assign(times, engine);
}

function itemsOf(calls: readonly CryptoCall[]): readonly BatchItem[] {
  return calls.length === 1 ? (calls[0] as CryptoCall).items : calls.flatMap((call) => call.items);
}

/**
 * Cost of what a worker does between two looks at whether somebody else waits, in microseconds; a call that costs more is
 * alone. Entering the engine takes about one.
 */
const sliceUs = 100;

function sliceByCost(calls: readonly CryptoCall[]): CryptoCall[][] {
  const slices: CryptoCall[][] = [];
  let slice: CryptoCall[] = [];
  let costUs = 0;
  for (const call of calls) {
    if (slice.length === 0 || costUs + call.costUs > sliceUs) {
      slice = [];
      slices.push(slice);
      costUs = 0;
    }
    slice.push(call);
    costUs += call.costUs;
  }
  return slices;
}

const workerDied = { ok: false, failure: failure('Internal') } as const satisfies Refused;

/** The tenant of a call, and the times at which its wait began and has to end. */
export type CallTerms = Pick<
  CryptoCall,
  'tenant' | 'offeredAtMs' | 'deadlineAtMs' | 'cancellation' | 'ownWork' | 'request'
>;

/** The dispatch as the request path sees it: signatures made or verified by the workers, when it is the tenant's turn. */
export interface CryptoDispatch extends QueueOutlook {
  /** One outcome for each work, in order. Works of one class are queued together as far as one turn takes them. */
  runAll(works: readonly BatchWork[], on: CallTerms): Promise<readonly Result<readonly BatchResult[]>[]>;
}

export type CryptoLane = Lane<readonly BatchResult[], CryptoCall>;

/** The lanes of one home, by price. A home with one lane has it for both. */
export interface CryptoLanes {
  readonly quick: CryptoLane;
  /**
   * For calls that take longer than others should have to wait: workers cannot be interrupted, but the operating system
   * shares a processor between the threads of two lanes.
   */
  readonly slow: CryptoLane;
  /** Of a home that can be away: then nothing is queued. */
  readonly contact?: { readonly up: boolean } | undefined;
}

/** Twice a job of quick calls: RSA-3072 and above, and ML-DSA with OpenSSL. */
const slowFromUs = 600;

/**
 * `own`: the lanes of our engine, whose outlook a request is held against before it is read. `others`: those of the other homes
 * by name. A home that is slow fills its own lanes only.
 */
export function createCryptoDispatch(
  own: CryptoLanes,
  queueOf: (tenant: string) => string,
  others: ReadonlyMap<string, CryptoLanes> = new Map(),
): CryptoDispatch {
  const lanesOf = (home: string) => (home === softwareBackend ? own : others.get(home));
  const offer = (
    home: string,
    { kind, items, meters }: BatchWork,
    costUs: number,
    { offeredAtMs, deadlineAtMs, cancellation, tenant, ownWork = false, request }: CallTerms,
    settled: (outcome: Result<readonly BatchResult[]>) => void,
  ): void => {
    const times = request?.trace?.work(kind, items.length);
    const settle = times === undefined ? settled : timed(times, settled);
    const lanes = lanesOf(home);
    if (lanes === undefined) {
      settle(noSuchHome);
      return;
    }
    if (lanes.contact?.up === false) {
      settle(homeAway);
      return;
    }
    const lane = costUs / items.length >= slowFromUs ? lanes.slow : lanes.quick;
    const offered = lane.offer({
      tenant: queueOf(tenant),
      callClass: workKinds[kind].callClass,
      costUs,
      offeredAtMs,
      deadlineAtMs,
      cancellation,
      ownWork,
      items,
      meters,
      request,
      times,
      settle,
    });
    if (!offered.ok) settle(offered);
  };
  const offerPack = (pack: Pack, on: CallTerms) =>
    new Promise<Result<readonly BatchResult[]>>((settle) => offer(pack.home, pack, pack.costUs, on, settle));

  return {
    refusal: (tenant, deadlineMs) => own.quick.refusal(queueOf(tenant), deadlineMs),
    runAll(works, on) {
      const [only] = works;
      const home = works.length === 1 && only !== undefined ? homeOfAll(only.items) : undefined;
      // The usual case, without the promises of the other.
      if (only !== undefined && home !== undefined) {
        return new Promise((resolve) =>
          offer(home, only, costOf(only), on, (outcome) => {
            on.cancellation.held = undefined;
            resolve([outcome]);
          }),
        );
      }
      const packing = packWorks(works);
      return Promise.all(packing.packs.map((pack) => offerPack(pack, on))).then((outcomes) => {
        on.cancellation.held = undefined;
        return unpack(packing, outcomes);
      });
    },
  };
}

const noSuchHome = refuse('StoreUnavailable', 'the key is held by a backend that this service does not have');
/** Of a home that does not answer: it is tried again every few seconds. */
export const homeAway = refuse('StoreUnavailable', 'the backend of this key does not answer', 1_000);
