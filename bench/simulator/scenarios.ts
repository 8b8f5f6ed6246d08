import { frontThread } from './front-thread.ts';
import type { Options } from './options.ts';
import type { SimulatorOptions } from './simulator.ts';
import { type Arrivals, type Mix, meanCostUs, only, type TenantClass, workOf } from './workload.ts';

/** One run of the simulator, and what it is called. */
export interface Run {
  readonly name: string;
  readonly options: SimulatorOptions;
}

/** A victim's runs, to be compared with the one without an aggressor. */
export interface VictimRuns {
  readonly victims: number;
  readonly baseline: Run;
  readonly attacks: readonly {
    readonly run: Run;
    readonly aggressors: number;
    readonly times: number;
    readonly algorithm: string;
  }[];
}

function simulatorOptions(
  options: Options,
  classes: readonly TenantClass[],
  seconds = options.seconds,
): SimulatorOptions {
  return {
    seed: options.seed,
    cores: options.cores,
    slotsPerWorker: options.slots,
    hopUs: options.hopUs,
    jobBudgetUs: options.jobBudgetUs,
    soloBudgetUs: options.soloBudgetUs,
    jobMaxCalls: options.jobMaxCalls,
    readyLeastUs: options.readyUs,
    readyMostUs: Math.max(options.readyUs, readyMostUs),
    queueTargetMs: options.queueTargetMs,
    runHereUpToUs: 0,
    ...(options.loop === 'on' ? { loop: frontThread } : undefined),
    limits: {
      perTenantCalls: options.queuePerTenant,
      // As in main.ts: what all workers could do within the longest deadline.
      perTenantCostUs: longestDeadlineMs * 1000 * options.cores,
      totalCalls: options.queueTotal,
      quantumUs: options.quantumUs,
    },
    admission: {
      rates: options.signRate === 0 ? {} : { 'kms:sign': [{ count: options.signRate, windowMs: 1000 }] },
      defaultDeadlineMs: options.deadlineMs,
      batchDeadlineMs: longestDeadlineMs,
      maxDeadlineMs: longestDeadlineMs,
    },
    warmUpMs: options.warmUp * 1000,
    durationMs: seconds * 1000,
    noise: options.noise,
    machineFactor: options.machineFactor,
    classes,
  };
}

/** As in assemble/cryptography.ts. */
const readyMostUs = 5_000;

const longestDeadlineMs = 2000;
const dearestAlgorithm = 'rsa-4096';

/** Mean 120 us: with 1,000,000 calls a second on 64 cores about twice what they can do. */
const everyday: Mix = [
  { work: workOf('ed25519', 'sign'), share: 40 },
  { work: workOf('ed25519', 'verify'), share: 10 },
  { work: workOf('ml-dsa-65', 'sign'), share: 37 },
  { work: workOf('ml-dsa-65', 'verify'), share: 5 },
  { work: workOf('rsa-2048', 'sign'), share: 8 },
];

/**
 * Many small tenants below their fair part, some in bursts, some by the clock, and one in a hundred that floods: six
 * tenths of all calls come from those, half of them with twice the weight.
 */
export function overloadRun(options: Options): Run {
  const { tenants, rate, deadlineMs, cancelShare, patienceMs } = options;
  const flooding = Math.max(1, Math.round(tenants / 200));
  const part = (
    name: string,
    count: number,
    rateShare: number,
    weight: number,
    arrivals: (ratePerSecond: number) => Arrivals,
  ): TenantClass => ({
    name,
    tenants: count,
    weight,
    arrivals: arrivals((rate * rateShare) / count),
    mix: everyday,
    deadlineMs,
    cancelShare,
    patienceMs,
  });
  const poisson = (ratePerSecond: number): Arrivals => ({ kind: 'poisson', ratePerSecond });
  const bursty = Math.round(tenants * 0.05);
  const constant = Math.round(tenants * 0.04);
  const classes = [
    part('small', tenants - bursty - constant - 2 * flooding, 0.25, 1, poisson),
    part('bursty', bursty, 0.05, 1, (ratePerSecond) => ({
      kind: 'bursty',
      ratePerSecond,
      onMs: 20,
      offMs: 80,
    })),
    part('constant', constant, 0.1, 1, (ratePerSecond) => ({ kind: 'constant', ratePerSecond })),
    part('flooding', flooding, 0.3, 1, poisson),
    part('flooding, weight 2', flooding, 0.3, 2, poisson),
  ];
  return { name: 'overload', options: simulatorOptions(options, classes) };
}

/** Times what all victims ask for together. */
const floods = [1, 10, 100] as const;

/**
 * Victims that ask for a fixed share of the workers, alone and then beside an aggressor that sends so many times as
 * many calls as all of them together: by their own algorithm, by the dearest, and as a crowd of 32 tenants.
 */
export function victimRuns(options: Options): VictimRuns[] {
  return [1, 100, 10_000].map((victims) => {
    const work = workOf(options.algorithm, 'sign');
    const rate = (options.load * options.cores * 1e6) / work.costUs;
    const tenants = (name: string, count: number, mix: Mix, totalRate: number): TenantClass => ({
      name,
      tenants: count,
      weight: 1,
      arrivals: { kind: 'poisson', ratePerSecond: totalRate / count },
      mix,
      deadlineMs: options.deadlineMs,
      cancelShare: 0,
      patienceMs: options.patienceMs,
    });
    const victim = tenants('victim', victims, only(work), rate);
    const attack = (algorithm: string, aggressors: number, times: number) => {
      const aggressor = tenants('aggressor', aggressors, only(workOf(algorithm, 'sign')), rate * times);
      const who = aggressors === 1 ? 'one aggressor' : `${aggressors} aggressors`;
      return {
        run: {
          name: `${victims} victims, ${who} with ${algorithm}, ${times} times`,
          options: simulatorOptions(options, [victim, aggressor], options.seconds / 4),
        },
        aggressors,
        times,
        algorithm,
      };
    };
    return {
      victims,
      baseline: {
        name: `${victims} victims alone`,
        options: simulatorOptions(options, [victim], options.seconds / 4),
      },
      attacks: [options.algorithm, dearestAlgorithm].flatMap((algorithm) => [
        ...floods.map((times) => attack(algorithm, 1, times)),
        // Beside 32 others a single victim would ask for more than its part, and wait behind its own calls.
        ...(victims === 1 ? [] : [attack(algorithm, 32, 10)]),
      ]),
    };
  });
}

/**
 * One worker, and a flood whose requests come in bunches, beside a tenant of 100 calls a second: turns of the event loop that
 * read a bunch are longer than a job. `before`: as it was when a worker held two jobs of 1 ms at most, and calls waited as
 * long as their deadline let them.
 */
export function turnsRun(options: Options, times: number, everyMs: number, before = false): Run {
  const work = workOf(options.algorithm, 'sign');
  const cores = 1;
  const tenant = (name: string, arrivals: Arrivals): TenantClass => ({
    name,
    tenants: 1,
    weight: 1,
    arrivals,
    mix: only(work),
    deadlineMs: options.deadlineMs,
    cancelShare: 0,
    patienceMs: options.patienceMs,
  });
  const ratePerSecond = (times * 1e6) / work.costUs;
  const classes = [
    tenant('flood', { kind: 'bunched', ratePerSecond, everyMs }),
    tenant('victim', { kind: 'poisson', ratePerSecond: 100 }),
  ];
  const asBefore = { slotsPerWorker: 2, readyLeastUs: 2_000, readyMostUs: 2_000, queueTargetMs: 3_600_000 };
  return {
    name: `${times} times what a worker can do, in bunches of ${everyMs} ms${before ? ', before' : ''}`,
    options: {
      ...simulatorOptions({ ...options, cores }, classes),
      loop: frontThread,
      ...(before ? asBefore : undefined),
    },
  };
}

/** Tenants that always have calls waiting, of different weights and prices: how far apart do their services get? */
export function backloggedRun(options: Options): Run {
  // More than one job can hold, so that no draw empties a queue.
  const waiting = options.jobMaxCalls + 8;
  const kinds = [
    ['ed25519', 1],
    ['ed25519', 4],
    ['ml-dsa-65', 1],
    ['ml-dsa-65', 2],
    ['rsa-2048', 1],
    ['rsa-4096', 1],
    ['rsa-4096', 4],
  ] as const;
  const tenantsPerKind = Math.max(1, Math.floor((options.queueTotal * 0.9) / waiting / kinds.length));
  const classes = kinds.map(([algorithm, weight]): TenantClass => {
    return {
      name: `${algorithm}, weight ${weight}`,
      tenants: Math.min(16, tenantsPerKind),
      weight,
      arrivals: { kind: 'saturating', waiting },
      mix: only(workOf(algorithm, 'sign')),
      // So long that nobody is refused: then all wait throughout, and only the order of service shows.
      deadlineMs: 3_600_000,
      cancelShare: options.cancelShare,
      patienceMs: options.patienceMs,
    };
  });
  // Nor may any of them be refused because its queue stands.
  const queueTargetMs = 3_600_000;
  return { name: 'backlogged', options: { ...simulatorOptions(options, classes), queueTargetMs } };
}

/** Calls that a run will offer, for the progress display. */
export function expectedCalls({ classes, warmUpMs, durationMs, cores }: SimulatorOptions): number {
  const seconds = (warmUpMs + durationMs) / 1000;
  let calls = 0;
  for (const { arrivals, tenants, mix } of classes) {
    calls +=
      arrivals.kind === 'saturating'
        ? (cores * 1e6 * seconds) / classes.length / meanCostUs(mix)
        : arrivals.ratePerSecond * tenants * seconds;
  }
  return calls;
}
