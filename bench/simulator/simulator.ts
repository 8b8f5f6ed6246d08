import { Admission, type AdmissionOptions } from '../../src/admission/admission.ts';
import { cancel } from '../../src/core/cancellation.ts';
import { ok, type Result } from '../../src/core/result.ts';
import { type CostMeter, createCostMeter } from '../../src/queue/cost-meter.ts';
import { type JobEnd, Lane, type LaneOptions } from '../../src/queue/lane.ts';
import { type Ending, SimulatedCall } from './call.ts';
import { EventQueue } from './event-queue.ts';
import { ServiceSpread } from './fairness.ts';
import type { FrontThread } from './front-thread.ts';
import { ClassCounts } from './statistics.ts';
import { createTenants, type SimulatedTenant, type TenantOutcome } from './tenants.ts';
import { type Finished, type Job, SimulatedWorkers } from './workers.ts';
import { costNoise, createPicker, type TenantClass, type Work } from './workload.ts';

export interface SimulatorOptions extends LaneOptions {
  readonly seed: number;
  readonly cores: number;
  /** See workers.ts. */
  readonly slotsPerWorker: number;
  readonly hopUs: number;
  readonly admission: AdmissionOptions;
  /** What the thread takes that reads requests, sends jobs and comes to their results; it takes no time where absent. */
  readonly loop?: FrontThread;
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
  drawn?(calls: readonly SimulatedCall[], nowUs: number, ahead: boolean): void;
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

const eventKinds = { arrival: 0, jobDone: 1, callerGone: 2, turn: 3 } as const;
const kindBits = 2;
const kindMask = (1 << kindBits) - 1;
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
  /** What the next turn of the event loop comes to: with a front thread only. */
  #inbox: (Finished | { readonly event: number; readonly atUs: number })[] = [];
  #turnDue = false;
  #freeFromUs = 0;
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
        overtakes: true,
        carry: (calls, costUs, ahead) => this.#carry(calls, costUs, ahead),
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
      const event = this.#events.take();
      if (this.#options.loop === undefined) {
        this.#handle(event, atUs);
        // The lane draws in a turn of its own.
        await turnOfEventLoop();
      } else if ((event & kindMask) === eventKinds.turn) await this.#turn(this.#options.loop);
      else this.#leave(event, atUs);
      this.#watcher.settled?.({
        nowUs: this.#nowUs,
        idleWorkers: this.#workers.dry,
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

  /** An event that the front thread has to come to first; workers go on by themselves. */
  #leave(event: number, atUs: number): void {
    const subject = event >> kindBits;
    const kind = event & kindMask;
    if (kind === eventKinds.jobDone) {
      const finished = this.#workers.finish(subject, atUs);
      if (finished === undefined) return;
      this.#inbox.push(finished);
    } else {
      if (kind === eventKinds.arrival) this.#scheduleArrival(this.#tenants[subject] as SimulatedTenant);
      this.#inbox.push({ event, atUs });
    }
    if (this.#turnDue) return;
    this.#turnDue = true;
    this.#schedule(Math.max(atUs, this.#freeFromUs), eventKinds.turn, 0);
  }

  /** One turn of the event loop: all that has come by its beginning, then what the lane sends. */
  async #turn(loop: FrontThread): Promise<void> {
    const inbox = this.#inbox;
    this.#inbox = [];
    for (const item of inbox) {
      if ('job' in item) {
        this.#passes(loop.jobUs + loop.answerUs * item.job.calls.length);
        this.#noticed(item);
        // The lane goes on with its next job at once.
        await turnOfMicrotasks();
      } else {
        const refused = this.#totals.refused;
        this.#passes((item.event & kindMask) === eventKinds.arrival ? loop.readUs : 0);
        this.#handle(item.event, item.atUs);
        if (this.#totals.refused > refused) this.#passes(loop.refuseUs);
      }
    }
    await turnOfEventLoop();
    this.#freeFromUs = this.#nowUs;
    this.#turnDue = this.#inbox.length > 0;
    if (this.#turnDue) this.#schedule(this.#freeFromUs, eventKinds.turn, 0);
  }

  /** The front thread is busy for so long; what happens meanwhile waits for its next turn. */
  #passes(us: number): void {
    this.#nowUs += us;
    for (
      let atUs = this.#events.nextTime;
      atUs !== undefined && atUs <= this.#nowUs;
      atUs = this.#events.nextTime
    )
      this.#leave(this.#events.take(), atUs);
  }

  #handle(event: number, atUs: number): void {
    const subject = event >> kindBits;
    switch (event & kindMask) {
      case eventKinds.arrival: {
        const tenant = this.#tenants[subject] as SimulatedTenant;
        if (this.#options.loop === undefined) this.#scheduleArrival(tenant);
        this.#arrive(tenant, atUs);
        break;
      }
      case eventKinds.jobDone: {
        const finished = this.#workers.finish(subject, atUs);
        if (finished !== undefined) this.#noticed(finished);
        break;
      }
      case eventKinds.callerGone:
        this.#callerGone(subject);
        break;
    }
  }

  #inWindow(timeUs: number): boolean {
    return timeUs >= this.#windowFromUs && timeUs < this.#windowToUs;
  }

  #arrive(tenant: SimulatedTenant, arrivedUs = this.#nowUs): void {
    const { random, tenantClass } = tenant;
    const work = (this.#pickers[tenant.classIndex] as (tenant: SimulatedTenant) => Work)(tenant);
    // All is drawn whether or not the call is taken in, so that the tenant's next calls stay the same.
    const factor = this.#options.machineFactor * costNoise(work, this.#options.noise, random);
    const goesAway = tenantClass.cancelShare > 0 && random.uniform() < tenantClass.cancelShare;
    const patienceUs = goesAway ? random.exponential(tenantClass.patienceMs * 1000) : 0;
    const realUs = work.costUs * factor;
    const counts = this.#classes[tenant.classIndex] as ClassCounts;
    const counted = this.#inWindow(arrivedUs);
    this.#totals.offered++;
    if (counted) {
      counts.offered++;
      tenant.demandUs += realUs;
    }
    const taken = this.#offer(tenant, work, realUs, arrivedUs);
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
  #offer(tenant: SimulatedTenant, work: Work, realUs: number, arrivedUs: number): Result<SimulatedCall> {
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
        arrivedUs,
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

  #carry(calls: readonly SimulatedCall[], costUs: number, ahead: boolean): Promise<JobEnd> {
    this.#watcher.drawn?.(calls, this.#nowUs, ahead);
    this.#countServed(calls);
    for (const call of calls) this.#leftQueue(this.#tenants[call.tenantIndex] as SimulatedTenant);
    if (this.#options.loop !== undefined) this.#passes(this.#options.loop.jobUs);
    const { promise, resolve } = Promise.withResolvers<JobEnd>();
    const done: Job['done'] = ({ busyUs, idleUs, endUs }) =>
      resolve({ busyUs, idleUs, lagMs: (this.#nowUs - endUs) / 1000 });
    this.#workers.take({ calls, costUs, ahead, done } satisfies Job, this.#nowUs);
    return promise;
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

  #noticed(finished: Finished): void {
    const { job, startUs } = finished;
    this.#workers.noticed(finished);
    for (const call of job.calls) {
      if (this.#inWindow(call.arrivedUs)) this.#countsOf(call).wait.recordUs(startUs - call.arrivedUs);
      (this.#meters.get(call.work) as CostMeter).observe(call.realUs);
      call.settle(ok(undefined));
    }
    job.done(finished);
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

/** As many as a job's end takes to the lane. */
async function turnOfMicrotasks(): Promise<void> {
  for (let n = 0; n < 4; n++) await undefined;
}

function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
