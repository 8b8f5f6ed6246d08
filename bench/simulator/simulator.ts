import { Admission, type AdmissionOptions } from '../../src/admission/admission.ts';
import { cancel } from '../../src/core/cancellation.ts';
import { ok, type Result } from '../../src/core/result.ts';
import { type CostMeter, createCostMeter } from '../../src/queue/cost-meter.ts';
import { type CarriedJob, Lane, type LaneOptions } from '../../src/queue/lane.ts';
import { type Ending, SimulatedCall } from './call.ts';
import { EventQueue } from './event-queue.ts';
import { ServiceSpread } from './fairness.ts';
import { ClassCounts } from './statistics.ts';
import { createTenants, type SimulatedTenant, type TenantOutcome } from './tenants.ts';
import { type Job, SimulatedWorkers } from './workers.ts';
import { costNoise, createPicker, type TenantClass, type Work } from './workload.ts';

export interface SimulatorOptions extends LaneOptions {
  readonly seed: number;
  readonly cores: number;
  /** See workers.ts. */
  readonly slotsPerWorker: number;
  readonly hopUs: number;
  readonly admission: AdmissionOptions;
  /** Calls that come in this first part are not counted. */
  readonly warmUpMs: number;
  readonly durationMs: number;
  /** Sigma of the log-normal noise on real costs; 0: every call takes exactly the mean of its kind. */
  readonly noise: number;
  /** The simulated machine's slowness, as a multiple of the registry's costs; the meters have to find out. */
  readonly machineFactor: number;
  readonly classes: readonly TenantClass[];
}

/** For those who look on: tests and the progress display. */
export interface Watcher {
  /** After each event, when everything that follows from it has happened. */
  settled?(state: {
    readonly nowUs: number;
    readonly idleWorkers: number;
    readonly waitingCalls: number;
  }): void;
  drawn?(calls: readonly SimulatedCall[], nowUs: number): void;
  /** They were drawn, and not begun. */
  cameBack?(calls: readonly SimulatedCall[]): void;
  ended?(call: SimulatedCall, ending: Ending, nowUs: number): void;
  /** Now and then; share of the virtual time that has passed, 0 to 1. */
  progress?(share: number, offered: number): void;
}

export interface Outcome {
  readonly classes: readonly ClassCounts[];
  readonly tenants: readonly TenantOutcome[];
  readonly use: SimulatedWorkers['use'];
  /** Over the whole run, warm-up and drain included. */
  readonly totals: Readonly<Record<'offered' | 'refused' | Ending, number>>;
  /** From the start to the end of the window, between any two saturating tenants; undefined with fewer than two of them. */
  readonly maxUnfairnessUs: number | undefined;
  readonly dearestPriceUs: number;
}

/** Runs the production admission and lane in virtual time, until every admitted call has ended. */
export function simulate(options: SimulatorOptions, watcher: Watcher = {}): Promise<Outcome> {
  return new Simulation(options, watcher).run();
}

const eventKinds = { arrival: 0, jobDone: 1, callerGone: 2 } as const;
const kindBits = 2;
const progressEvery = 1 << 17;

class Simulation {
  readonly #options: SimulatorOptions;
  readonly #watcher: Watcher;
  readonly #events = new EventQueue();
  readonly #admission: Admission;
  readonly #lane: Lane<undefined, SimulatedCall>;
  readonly #workers: SimulatedWorkers;
  readonly #classes: readonly ClassCounts[];
  readonly #pickers: readonly ((tenant: SimulatedTenant) => Work)[];
  readonly #tenants: readonly SimulatedTenant[];
  readonly #meters = new Map<Work, CostMeter>();
  readonly #spread: ServiceSpread | undefined;
  /** Calls whose caller may still go away; places are used again. */
  readonly #impatient: (SimulatedCall | undefined)[] = [];
  readonly #freePlaces: number[] = [];
  readonly #windowFromUs: number;
  readonly #windowToUs: number;
  readonly #totals = { offered: 0, refused: 0, served: 0, expired: 0, cancelled: 0 };
  #dearestPriceUs = 0;
  #nowUs = 0;

  constructor(options: SimulatorOptions, watcher: Watcher) {
    this.#options = options;
    this.#watcher = watcher;
    this.#windowFromUs = options.warmUpMs * 1000;
    this.#windowToUs = this.#windowFromUs + options.durationMs * 1000;
    this.#classes = options.classes.map(() => new ClassCounts());
    this.#pickers = options.classes.map(({ mix }) => {
      const pick = createPicker(mix);
      return ({ random }) => pick(random);
    });
    for (const { work } of options.classes.flatMap(({ mix }) => mix)) {
      this.#meters.set(work, createCostMeter(work.costUs));
    }
    this.#tenants = createTenants(options.classes, options.seed);
    const saturating = this.#tenants.filter(({ spreadIndex }) => spreadIndex >= 0);
    this.#spread =
      saturating.length < 2 ? undefined : new ServiceSpread(saturating.map(({ weight }) => weight));
    this.#admission = new Admission(options.admission);
    const { cores, slotsPerWorker, hopUs } = options;
    this.#workers = new SimulatedWorkers(
      { cores, slotsPerWorker, hopUs, windowUs: [this.#windowFromUs, this.#windowToUs] },
      (worker, endUs) => this.#schedule(endUs, eventKinds.jobDone, worker),
    );
    this.#lane = this.#createLane();
  }

  #createLane(): Lane<undefined, SimulatedCall> {
    const workers = this.#workers;
    const weights = new Map(this.#tenants.map(({ name, weight }) => [name, weight]));
    return new Lane(this.#options, {
      carrier: {
        get freeSlots() {
          return workers.freeSlots;
        },
        get idleThreads() {
          return workers.idle;
        },
        threads: this.#options.cores,
        carry: (calls, interruptible) => this.#carry(calls, interruptible),
      },
      clock: { monotonicMs: () => this.#nowUs / 1000, utcMs: () => this.#nowUs / 1000 },
      weightOf: (name) => weights.get(name) as number,
    });
  }

  async run(): Promise<Outcome> {
    for (const tenant of this.#tenants) {
      for (let n = 0; n < tenant.keepsWaiting; n++) this.#arrive(tenant);
      this.#scheduleArrival(tenant);
    }
    await turnOfEventLoop();
    let windowBegun = false;
    let handled = 0;
    for (let atUs = this.#events.nextTime; atUs !== undefined; atUs = this.#events.nextTime) {
      if (!windowBegun && atUs >= this.#windowFromUs) {
        windowBegun = true;
        for (const tenant of this.#tenants) tenant.alwaysWaiting = tenant.waiting > 0;
      }
      this.#nowUs = atUs;
      this.#handle(this.#events.take());
      // The lane draws in a turn of its own; it has nothing to do there while all workers are full.
      if (this.#workers.freeSlots > 0) await turnOfEventLoop();
      this.#watcher.settled?.({
        nowUs: atUs,
        idleWorkers: this.#workers.idle,
        waitingCalls: this.#lane.waitingCalls,
      });
      if (++handled % progressEvery === 0) {
        this.#watcher.progress?.(Math.min(1, atUs / this.#windowToUs), this.#totals.offered);
      }
    }
    return {
      classes: this.#classes,
      tenants: this.#tenants,
      use: this.#workers.use,
      totals: this.#totals,
      maxUnfairnessUs: this.#spread?.maxUs,
      dearestPriceUs: this.#dearestPriceUs,
    };
  }

  #schedule(atUs: number, kind: number, subject: number): void {
    this.#events.add(atUs, (subject << kindBits) | kind);
  }

  #scheduleArrival({ times, random, index }: SimulatedTenant): void {
    const atUs = times?.nextUs(random);
    if (atUs !== undefined && atUs < this.#windowToUs) this.#schedule(atUs, eventKinds.arrival, index);
  }

  #handle(event: number): void {
    const subject = event >> kindBits;
    switch (event & ((1 << kindBits) - 1)) {
      case eventKinds.arrival: {
        const tenant = this.#tenants[subject] as SimulatedTenant;
        this.#scheduleArrival(tenant);
        this.#arrive(tenant);
        break;
      }
      case eventKinds.jobDone:
        this.#jobDone(subject);
        break;
      case eventKinds.callerGone:
        this.#callerGone(subject);
        break;
    }
  }

  #inWindow(timeUs: number): boolean {
    return timeUs >= this.#windowFromUs && timeUs < this.#windowToUs;
  }

  #arrive(tenant: SimulatedTenant): void {
    const { random, tenantClass } = tenant;
    const work = (this.#pickers[tenant.classIndex] as (tenant: SimulatedTenant) => Work)(tenant);
    // All is drawn whether or not the call is taken in, so that the tenant's next calls stay the same.
    const factor = this.#options.machineFactor * costNoise(work, this.#options.noise, random);
    const goesAway = tenantClass.cancelShare > 0 && random.uniform() < tenantClass.cancelShare;
    const patienceUs = goesAway ? random.exponential(tenantClass.patienceMs * 1000) : 0;
    const realUs = work.costUs * factor;
    const counts = this.#classes[tenant.classIndex] as ClassCounts;
    const counted = this.#inWindow(this.#nowUs);
    this.#totals.offered++;
    if (counted) {
      counts.offered++;
      tenant.demandUs += realUs;
    }
    const taken = this.#offer(tenant, work, realUs);
    if (!taken.ok) {
      this.#totals.refused++;
      if (counted) counts.refuse(taken.failure.hint ?? taken.failure.code);
      return;
    }
    tenant.waiting++;
    this.#dearestPriceUs = Math.max(this.#dearestPriceUs, taken.value.costUs);
    if (goesAway) this.#scheduleLeaving(taken.value, this.#nowUs + patienceUs);
  }

  /** In the order of request-path.ts. */
  #offer(tenant: SimulatedTenant, work: Work, realUs: number): Result<SimulatedCall> {
    const { name, index, tenantClass } = tenant;
    const nowMs = this.#nowUs / 1000;
    const scope = work.callClass === 'verify' ? 'kms:verify' : 'kms:sign';
    const refused =
      this.#lane.refusal(name, tenantClass.deadlineMs) ?? this.#admission.enter(name, scope, nowMs);
    if (refused !== undefined) return refused;
    const call = new SimulatedCall(
      {
        tenant: name,
        tenantIndex: index,
        work,
        costUs: (this.#meters.get(work) as CostMeter).costUs,
        realUs,
        arrivedUs: this.#nowUs,
        deadlineAtMs: nowMs + tenantClass.deadlineMs,
      },
      this.#onSettled,
    );
    const offered = this.#lane.offer(call);
    return offered.ok ? ok(call) : offered;
  }

  #scheduleLeaving(call: SimulatedCall, atUs: number): void {
    const place = this.#freePlaces.pop() ?? this.#impatient.length;
    this.#impatient[place] = call;
    this.#schedule(atUs, eventKinds.callerGone, place);
  }

  #callerGone(place: number): void {
    const call = this.#impatient[place] as SimulatedCall;
    this.#impatient[place] = undefined;
    this.#freePlaces.push(place);
    if (call.ending === undefined) cancel(call.cancellation);
  }

  #carry(calls: readonly SimulatedCall[], interruptible: boolean): CarriedJob {
    this.#watcher.drawn?.(calls, this.#nowUs);
    // A call that may come back is counted as served when it was.
    if (!interruptible) this.#countServed(calls);
    for (const call of calls) this.#leftQueue(this.#tenants[call.tenantIndex] as SimulatedTenant);
    const { promise, resolve } = Promise.withResolvers<number>();
    const job: Job = { calls, interruptible, done: resolve };
    this.#workers.take(job, this.#nowUs);
    return { done: promise, interrupt: () => this.#workers.interrupt(job, this.#nowUs) };
  }

  #countServed(calls: readonly SimulatedCall[]): void {
    const counted = this.#inWindow(this.#nowUs);
    for (const call of calls) {
      const tenant = this.#tenants[call.tenantIndex] as SimulatedTenant;
      // Afterwards the queues are only drained, and some are longer than others.
      if (tenant.spreadIndex >= 0 && this.#nowUs < this.#windowToUs) {
        this.#spread?.serve(tenant.spreadIndex, call.costUs);
      }
      if (counted) {
        tenant.chargedUs += call.costUs;
        tenant.servedUs += call.realUs;
      }
    }
  }

  #leftQueue(tenant: SimulatedTenant): void {
    tenant.waiting--;
    if (tenant.waiting < tenant.keepsWaiting && this.#nowUs < this.#windowToUs) this.#arrive(tenant);
    if (tenant.waiting === 0 && this.#inWindow(this.#nowUs)) tenant.alwaysWaiting = false;
  }

  #jobDone(worker: number): void {
    const finished = this.#workers.finish(worker, this.#nowUs);
    if (finished === undefined) return;
    const { job, count, startUs } = finished;
    const served = job.calls.slice(0, count);
    if (job.interruptible) this.#countServed(served);
    for (const call of served) {
      if (this.#inWindow(call.arrivedUs)) this.#countsOf(call).wait.recordUs(startUs - call.arrivedUs);
      (this.#meters.get(call.work) as CostMeter).observe(call.realUs);
      call.settle(ok(undefined));
    }
    const back = job.calls.slice(count);
    this.#watcher.cameBack?.(back);
    for (const call of back) (this.#tenants[call.tenantIndex] as SimulatedTenant).waiting++;
    job.done(count);
  }

  readonly #onSettled = (call: SimulatedCall, outcome: Result<undefined>): void => {
    if (call.ending !== undefined) throw new Error(`a call that was ${call.ending} has ended again`);
    const ending = outcome.ok ? 'served' : call.cancellation.cancelled ? 'cancelled' : 'expired';
    call.ending = ending;
    this.#totals[ending]++;
    if (this.#inWindow(call.arrivedUs)) this.#count(call, ending);
    this.#watcher.ended?.(call, ending, this.#nowUs);
    if (!outcome.ok) this.#leftQueue(this.#tenants[call.tenantIndex] as SimulatedTenant);
  };

  #count(call: SimulatedCall, ending: Ending): void {
    const counts = this.#countsOf(call);
    counts.ended[ending]++;
    if (ending !== 'served') return;
    counts.latency.recordUs(this.#nowUs - call.arrivedUs);
    if (this.#nowUs / 1000 > call.deadlineAtMs) counts.late++;
  }

  #countsOf(call: SimulatedCall): ClassCounts {
    return this.#classes[(this.#tenants[call.tenantIndex] as SimulatedTenant).classIndex] as ClassCounts;
  }
}

function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
