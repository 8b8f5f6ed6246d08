import { findAlgorithm } from '../../src/algorithms/registry.ts';
import { type CallClass, callClasses } from '../../src/queue/scheduler.ts';
import type { Random } from './random.ts';

/** One kind of work that a tenant asks for. */
export interface Work {
  /** `ed25519 sign` */
  readonly name: string;
  readonly callClass: CallClass;
  /** The cost that the scheduler is told until it has measurements: the registry's, in microseconds of one worker. */
  readonly costUs: number;
  /** Expected number of attempts until a signature is accepted; 1 for all that do not work by rejection. */
  readonly meanAttempts: number;
}

/** Kinds of work in their shares of the calls; shares need not add up to 1. */
export type Mix = readonly { readonly work: Work; readonly share: number }[];

/** The arrivals of a tenant's calls. Rates are those of one tenant. */
export type Arrivals =
  | { readonly kind: 'poisson' | 'constant'; readonly ratePerSecond: number }
  /** Poisson with the rate that makes this mean over all, in bursts; lengths of bursts and pauses are exponential. */
  | { readonly kind: 'bursty'; readonly ratePerSecond: number; readonly onMs: number; readonly offMs: number }
  /** What was due in each `everyMs` comes at its end, together: a generator that shares a processor with what it loads. */
  | { readonly kind: 'bunched'; readonly ratePerSecond: number; readonly everyMs: number }
  /** So many calls wait at any time: each that is drawn is replaced at once. */
  | { readonly kind: 'saturating'; readonly waiting: number };

/** Tenants that behave alike. */
export interface TenantClass {
  readonly name: string;
  readonly tenants: number;
  readonly weight: number;
  readonly arrivals: Arrivals;
  readonly mix: Mix;
  readonly deadlineMs: number;
  /** Share of calls, 0 to 1, whose caller goes away after an exponential time of this mean, if it has no answer. */
  readonly cancelShare: number;
  readonly patienceMs: number;
}

// FIPS 204, table 1: repetitions of the signing loop.
const repetitions: Readonly<Record<string, number>> = {
  'ml-dsa-44': 4.25,
  'ml-dsa-65': 5.1,
  'ml-dsa-87': 3.85,
};

/** Part of a signature by rejection that is done once, whatever the number of attempts. */
const fixedPart = 0.3;

export function workOf(algorithmName: string, callClass: 'sign' | 'verify'): Work {
  const algorithm = findAlgorithm(algorithmName);
  if (algorithm === undefined) throw new Error(`no algorithm ${algorithmName}`);
  let costUs = 0;
  for (const { schemes } of algorithm.components) {
    const scheme = schemes[0];
    if (scheme !== undefined) costUs += scheme.costUs[callClass] ?? 0;
  }
  return {
    name: `${algorithm.name} ${callClass}`,
    callClass,
    costUs,
    meanAttempts: callClass === 'sign' ? (repetitions[algorithm.name] ?? 1) : 1,
  };
}

export function only(work: Work): Mix {
  return [{ work, share: 1 }];
}

export function meanCostUs(mix: Mix): number {
  let shares = 0;
  let sumUs = 0;
  for (const { work, share } of mix) {
    shares += share;
    sumUs += share * work.costUs;
  }
  return sumUs / shares;
}

/** The real time of one call, as a multiple of the mean of its kind: log-normal noise, and attempts where there are. */
export function costNoise(work: Work, sigma: number, random: Random): number {
  let factor = sigma > 0 ? random.logNormal(sigma) : 1;
  if (sigma > 0 && work.meanAttempts > 1) {
    factor *= fixedPart + ((1 - fixedPart) * random.attempts(1 / work.meanAttempts)) / work.meanAttempts;
  }
  return factor;
}

/** Draws kinds of work in their shares. */
export function createPicker(mix: Mix): (random: Random) => Work {
  const sole = mix.length === 1 ? mix[0]?.work : undefined;
  if (sole !== undefined) return () => sole;
  const total = mix.reduce((sum, { share }) => sum + share, 0);
  const last = mix.at(-1)?.work as Work;
  return (random) => {
    let rest = random.uniform() * total;
    for (const { work, share } of mix) {
      rest -= share;
      if (rest < 0) return work;
    }
    return last;
  };
}

/** The times at which one tenant's calls come, in microseconds, one after the other. */
export interface ArrivalTimes {
  nextUs(random: Random): number;
}

/** Undefined for tenants whose calls come in answer to others, not by the clock. */
export function createArrivalTimes(arrivals: Arrivals): ArrivalTimes | undefined {
  switch (arrivals.kind) {
    case 'poisson':
      return poisson(1e6 / arrivals.ratePerSecond);
    case 'constant':
      return constant(1e6 / arrivals.ratePerSecond);
    case 'bursty':
      return bursty(arrivals);
    case 'bunched':
      return bunched(arrivals);
    case 'saturating':
      return undefined;
  }
}

function poisson(meanGapUs: number): ArrivalTimes {
  let atUs = 0;
  return {
    nextUs(random) {
      atUs += random.exponential(meanGapUs);
      return atUs;
    },
  };
}

function constant(gapUs: number): ArrivalTimes {
  let atUs: number | undefined;
  return {
    nextUs(random) {
      // Each with a phase of its own, or thousands of tenants would call at the same instant.
      atUs = atUs === undefined ? random.uniform() * gapUs : atUs + gapUs;
      return atUs;
    },
  };
}

function bunched({ ratePerSecond, everyMs }: Extract<Arrivals, { kind: 'bunched' }>): ArrivalTimes {
  const perBunch = (ratePerSecond * everyMs) / 1000;
  let calls = 0;
  return {
    nextUs() {
      calls++;
      return Math.ceil(calls / perBunch) * everyMs * 1000;
    },
  };
}

function bursty({ ratePerSecond, onMs, offMs }: Extract<Arrivals, { kind: 'bursty' }>): ArrivalTimes {
  const gapInBurstUs = (1e6 / ratePerSecond) * (onMs / (onMs + offMs));
  let atUs = 0;
  let burstEndUs = 0;
  return {
    nextUs(random) {
      if (burstEndUs === 0) burstEndUs = random.uniform() * onMs * 1000;
      atUs += random.exponential(gapInBurstUs);
      while (atUs > burstEndUs) {
        const pauseUs = random.exponential(offMs * 1000);
        // The rest of the gap goes on after the pause: within bursts the process has no memory.
        atUs += pauseUs;
        burstEndUs += pauseUs + random.exponential(onMs * 1000);
      }
      return atUs;
    },
  };
}

/** Checks the rules of a class; a scenario that breaks one is a mistake in the scenario. */
export function checkClass(tenantClass: TenantClass): void {
  const { name, tenants, weight, mix, deadlineMs, cancelShare, patienceMs, arrivals } = tenantClass;
  const rate = arrivals.kind === 'saturating' ? arrivals.waiting : arrivals.ratePerSecond;
  const valid =
    Number.isSafeInteger(tenants) &&
    tenants >= 1 &&
    weight > 0 &&
    Number.isFinite(weight) &&
    rate > 0 &&
    Number.isFinite(rate) &&
    deadlineMs > 0 &&
    cancelShare >= 0 &&
    cancelShare <= 1 &&
    patienceMs > 0 &&
    mix.length > 0 &&
    mix.every(({ work, share }) => share > 0 && work.costUs > 0 && callClasses.includes(work.callClass));
  if (!valid) throw new RangeError(`tenant class ${name} is out of range`);
}
