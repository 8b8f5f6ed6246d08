import type { Config } from '../config/load.ts';
import type { LiveConfig } from '../config/reload.ts';
import { systemClock } from '../core/clock.ts';
import { isName } from '../core/name.ts';
import { ownMember } from '../core/own-member.ts';
import { StartError } from '../core/start-error.ts';
import { createBackends } from '../custody/backends.ts';
import type { Custodies, Home } from '../custody/custody.ts';
import type { OpenedRoot } from '../custody/root-key/open-for-store.ts';
import { createSoftwareCustody } from '../custody/software/index.ts';
import {
  type CryptoLane,
  createBatchCarrier,
  createCryptoDispatch,
  homeAway,
} from '../dispatch/crypto-dispatch.ts';
import { announceForgotten, createForgottenRing } from '../dispatch/forgotten.ts';
import { createGenerationCarrier, type GenerateCall } from '../dispatch/generation.ts';
import { createHomeLane, type HomeLaneSettings } from '../dispatch/home-lane.ts';
import { createInlinePool } from '../dispatch/inline.ts';
import type { PoolWorkerData, WorkerPool } from '../dispatch/pool.ts';
import { createStandIns } from '../dispatch/stand-ins.ts';
import type { Engine, GeneratedKey } from '../engine/engine.ts';
import { softwareBackend } from '../keys/record.ts';
import type { Health } from '../observe/health.ts';
import { createLoadMonitor } from '../observe/load.ts';
import { type Logger, requestFields } from '../observe/log.ts';
import type { Metrics } from '../observe/metrics.ts';
import type { RequestNames } from '../observe/tracing.ts';
import { Lane, type LaneObserver } from '../queue/lane.ts';
import type { SchedulerLimits } from '../queue/scheduler.ts';
import type { ChosenEngine } from './engine.ts';
import { registerBackends } from './homes.ts';

/** The parts that benches change in order to compare; the service itself runs with the defaults. */
export interface Tuning {
  /**
   * Cost of one job, in microseconds: the thread hop costs 40 to 60 on both sides together, a sixth of this, and nobody
   * waits longer behind somebody else's job, unless that is a single dearer call.
   */
  readonly jobBudgetUs: number;
  /** While only one tenant waits, and whoever comes next overtakes it: the hop is a twentieth of this. */
  readonly soloBudgetUs: number;
  /** So that a job's results stay under 256 KiB (ML-DSA-65) whatever the meters say. */
  readonly jobMaxCalls: number;
  /** Half a job: the thread hop takes about as long as this. */
  readonly readyLeastUs: number;
  /** A turn of the event loop that is longer is a pause; and what lies ready should not wait longer than calls wait. */
  readonly readyMostUs: number;
  /**
   * About five Ed25519 signatures. A message to a worker that sleeps, and its answer, cost this thread some 35 us and the
   * worker 20, and the caller 100 us of waiting; reading one request takes as long as two of the signatures.
   */
  readonly runHereUpToUs: number;
  /** The name of the turn to which a tenant's calls are counted. */
  readonly queueOf: (tenant: string) => string;
  /** A root key that was replaced stays open so long for calls that began with it. */
  readonly rootOverlapMs: number;
}

export const defaultTuning: Tuning = {
  jobBudgetUs: 300,
  soloBudgetUs: 1_000,
  jobMaxCalls: 64,
  readyLeastUs: 150,
  readyMostUs: 5_000,
  runHereUpToUs: 30,
  queueOf: (tenant) => tenant,
  // A key may take 30 s to come to its turn, and some to be made.
  rootOverlapMs: 60_000,
};

/** Dear calls give way to quick ones where both want the same processor, and keep about a third of it (sched(7)). */
const slowNiceness = 5;

/** Making a key gives way to all signatures, and keeps about a tenth. */
const generationNiceness = 10;

/** Keys are made one at a time: a second thread would only take the processor from signatures. */
const generationThreads = 1;

/** 1 for tenants that have none of their own. */
export function weightOf({ tenantWeights }: Config, tenant: string): number {
  return ownMember(tenantWeights, tenant) ?? 1;
}

export interface CryptographyParts {
  readonly health: Health;
  readonly metrics: Metrics;
  readonly tuning: Tuning;
  /** See ServiceOptions. */
  readonly inline?: boolean | undefined;
}

export async function startCryptography(
  settings: LiveConfig,
  log: Logger,
  { engine, options }: ChosenEngine,
  rootAtFirst: OpenedRoot['root'],
  { health, metrics, tuning, inline = false }: CryptographyParts,
  otherHomes: readonly Home[] = [],
) {
  requireOwnNames(otherHomes);
  const { queueOf, rootOverlapMs: _, ...shape } = tuning;
  const { jobBudgetUs, jobMaxCalls } = shape;
  const config = settings.now;
  let root = rootAtFirst;
  const forgotten = createForgottenRing();
  const workerData = { engine: engine.description.name, options, root, forgotten };
  const onCrash = (cause: unknown, requests: readonly RequestNames[] = []) =>
    log.error({ err: cause, ...requestFields(requests) }, 'a crypto worker failed');
  const startPool = await poolStarter(inline, { engine, root }, workerData, onCrash);
  const [signers, slowSigners, makers] = await Promise.all([
    startPool(config.workers, 0),
    startPool(Math.max(1, Math.floor(config.workers / 4)), slowNiceness),
    startPool(generationThreads, generationNiceness),
  ]);
  const pools = [signers, slowSigners, makers];
  health.condition('crypto_workers', 'required', () => pools.every((pool) => pool.alive));
  const threads = () => (inline ? 1 : settings.now.workers);
  const limits = queueLimits(settings, threads, jobBudgetUs);
  const weightNow = (tenant: string) => weightOf(settings.now, tenant);
  let [servedCalls, servedWhenAsked] = [0, 0];
  const observer: LaneObserver = {
    waited: (tenant, costUs, waitMs) => load.waited(tenant, costUs, waitMs),
    served(calls, serviceMs, waitingCalls) {
      servedCalls += calls;
      load.served(calls, serviceMs, waitingCalls);
    },
  };
  const runBatch = (request: Uint8Array, response: Uint8Array) => engine.run(root, request, response);
  const signatureLane = (pool: WorkerPool): CryptoLane =>
    new Lane(
      {
        ...{ limits, ...shape },
        get queueTargetMs() {
          return settings.now.queueTargetMs;
        },
      },
      {
        carrier: createBatchCarrier(pool, onCrash, runBatch),
        clock: systemClock,
        weightOf: weightNow,
        observer,
      },
    );
  const lanes = { quick: signatureLane(signers), slow: signatureLane(slowSigners) };
  const generation = new Lane<GeneratedKey, GenerateCall>(
    // Keys are made rarely and may take seconds: only their number is bounded.
    {
      limits: queueLimits(settings, threads, jobBudgetUs, Number.POSITIVE_INFINITY),
      jobBudgetUs,
      soloBudgetUs: jobBudgetUs,
      jobMaxCalls: 1,
      readyLeastUs: 0,
      readyMostUs: 0,
      queueTargetMs: Number.POSITIVE_INFINITY,
      runHereUpToUs: 0,
    },
    { carrier: createGenerationCarrier(makers, onCrash), clock: systemClock },
  );
  const custodies: Custodies = new Map(
    [
      createSoftwareCustody({ lane: generation, clock: systemClock }),
      ...otherHomes.map((home) => home.custody),
    ].map((custody) => [custody.backend, custody]),
  );
  const backendMetrics = registerBackends(settings, otherHomes, { health, metrics });
  const laneOfHome = new Map(
    otherHomes.map((home) => {
      const { backend } = home.custody;
      const served: LaneObserver['served'] = (calls, serviceMs, waitingCalls) => {
        observer.served(calls, serviceMs, waitingCalls);
        backendMetrics.served(backend, serviceMs / 1_000);
      };
      const lane = createHomeLane(homeLaneSettings(settings, limits, jobMaxCalls), {
        ...{ carrier: home.carrier, clock: systemClock, weightOf: weightNow },
        observer: { ...observer, served },
      });
      // Nobody waits for a home that does not answer.
      home.contact?.onChange(({ up }) => {
        if (!up) lane.refuseWaiting(homeAway);
      });
      return [backend, lane] as const;
    }),
  );
  const cryptoLanes = [lanes.quick, lanes.slow, ...laneOfHome.values()];
  const allLanes = [...cryptoLanes, generation];
  const load = createLoadMonitor(metrics, () => ({
    waiting_calls: sum(cryptoLanes, (lane) => lane.waitingCalls),
    waiting_cost_us: Math.round(sum(cryptoLanes, (lane) => lane.waitingCostUs)),
    active_tenants: Math.max(...cryptoLanes.map((lane) => lane.activeTenants)),
  }));
  health.condition('memory_unlocked', 'wanted', () => engine.stats().memoryLocked);
  if (!engine.stats().memoryLocked) {
    log.warn(
      'PRIVATE KEYS ARE IN MEMORY THAT IS NOT LOCKED and may be swapped out: raise RLIMIT_MEMLOCK (LimitMEMLOCK=64M, ulimit -l 65536), with the native engine',
    );
  }
  return {
    description: engine.description,
    load,
    /** The name of the turn to which a tenant's calls are counted. */
    lane: createStandIns(
      createCryptoDispatch(
        lanes,
        queueOf,
        new Map(
          otherHomes.map(({ custody: { backend }, contact }) => {
            const lane = laneOfHome.get(backend) as CryptoLane;
            return [backend, { quick: lane, slow: lane, contact }];
          }),
        ),
      ),
      backendMetrics.stoodIn,
    ),
    ...{ custodies, homes: otherHomes },
    /** Resolves when every thread uses this root. */
    async useRoot(next: OpenedRoot['root']) {
      root = next;
      await Promise.all(pools.map((pool) => pool.useRoot(next)));
    },
    backends: createBackends({
      ...{ homes: otherHomes, clock: systemClock, cacheHit: backendMetrics.cacheHit },
      settings: {
        get ttlMs() {
          return settings.now.verifyCacheTtlMs;
        },
        get refuseStale() {
          return settings.now.verifyStale === 'refuse';
        },
      },
    }),
    waitingCalls: () => sum(allLanes, (lane) => lane.waitingCalls),
    /** True if nothing was done since it was asked last, nothing waits, and no worker has anything to do. */
    restedSinceAsked() {
      const rested = servedCalls === servedWhenAsked && allLanes.every((lane) => lane.waitingCalls === 0);
      servedWhenAsked = servedCalls;
      return rested && pools.every((pool) => pool.idleThreads >= pool.threads);
    },
    forget(keyNumber: number) {
      engine.forget(keyNumber);
      announceForgotten(forgotten, keyNumber);
      for (const home of otherHomes) home.forget(keyNumber);
    },
    async stop() {
      await Promise.all(allLanes.map((lane) => lane.drained()));
      await Promise.all([...pools, ...otherHomes].map((part) => part.close()));
      load.stop();
    },
  };
}

/** Each lane has a pool of its own. Piscina is loaded only where there is one. */
async function poolStarter(
  inline: boolean,
  here: { readonly engine: Engine; readonly root: OpenedRoot['root'] },
  workerData: Omit<PoolWorkerData, 'niceness'>,
  onCrash: (cause: unknown) => void,
): Promise<(threads: number, niceness: number) => Promise<WorkerPool>> {
  if (inline) return async () => createInlinePool(here.engine, here.root);
  const { startWorkerPool } = await import('../dispatch/pool.ts');
  return (threads, niceness) => startWorkerPool(threads, { ...workerData, niceness }, { onCrash });
}

/** The bounds of a queue, as the settings of now have them. */
function queueLimits(
  settings: LiveConfig,
  threads: () => number,
  quantumUs: number,
  mostCostUs?: number,
): SchedulerLimits {
  return {
    get perTenantCalls() {
      return settings.now.queuePerTenant;
    },
    // More could not be served within the deadline, even by all workers.
    get perTenantCostUs() {
      return mostCostUs ?? settings.now.signDeadlineMs * 1000 * threads();
    },
    get totalCalls() {
      return settings.now.queueTotal;
    },
    quantumUs,
  };
}

function homeLaneSettings(
  settings: LiveConfig,
  { quantumUs }: SchedulerLimits,
  jobMaxCalls: number,
): HomeLaneSettings {
  return {
    get perTenantCalls() {
      return settings.now.queuePerTenant;
    },
    get totalCalls() {
      return settings.now.queueTotal;
    },
    get deadlineMs() {
      return settings.now.signDeadlineMs;
    },
    ...{ jobBudgetUs: quantumUs, jobMaxCalls },
  };
}

/** Records name a home: two of one name would each be given the other's keys, and another grammar could not be read. */
function requireOwnNames(homes: readonly Home[]): void {
  const names = new Set([softwareBackend]);
  for (const { custody } of homes) {
    if (!isName(custody.backend)) throw new StartError(`${custody.backend} is no name for a backend`);
    if (names.has(custody.backend))
      throw new StartError(`there are two backends of the name ${custody.backend}`);
    names.add(custody.backend);
  }
}

function sum<T>(all: readonly T[], numberOf: (one: T) => number): number {
  return all.reduce((total, one) => total + numberOf(one), 0);
}

export type Cryptography = Awaited<ReturnType<typeof startCryptography>>;
