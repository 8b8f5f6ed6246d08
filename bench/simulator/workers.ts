import type { SimulatedCall } from './call.ts';

/** Calls that go to a worker together. */
export interface Job {
  readonly calls: readonly SimulatedCall[];
  readonly costUs: number;
  /** Overtakes what its worker has not begun, and what that has in hand after the call that it does. */
  readonly ahead: boolean;
  /** To be called when the job's slot is free again: what the worker needed for it, and when it ended. */
  readonly done: (end: Pick<Finished, 'busyUs' | 'idleUs' | 'endUs'>) => void;
}

interface Timed {
  readonly job: Job;
  readonly workUs: number;
  /** The time at which its worker first began it. */
  begunUs: number | undefined;
  /** Since then, or since it was gone on with. */
  startUs: number;
  /** The time of its end, as far as is known; undefined while it is not in hand. */
  endUs: number | undefined;
  /** The rest of it when it goes on after a job that overtook it. */
  leftUs: number;
}

/** A job that is done. */
export interface Finished {
  readonly worker: number;
  readonly job: Job;
  readonly startUs: number;
  readonly endUs: number;
  readonly busyUs: number;
  /** Before it, the worker had nothing to do for so long. */
  readonly idleUs: number;
}

export interface WorkersOptions {
  readonly cores: number;
  /** Jobs that a worker holds: the one it does and those that lie ready, as the port of a real thread does. */
  readonly slotsPerWorker: number;
  /** The cost of each job to its worker beside its calls, in microseconds: waking, decoding, answering. */
  readonly hopUs: number;
  /** Use of the workers is counted from here to there, in microseconds of virtual time. */
  readonly windowUs: readonly [number, number];
}

/** A worker as the thread that sends it jobs knows it: until a result was noticed its job is under way. */
interface Known {
  jobs: number;
  costUs: number;
  /** Of it, of jobs that overtake. */
  aheadUs: number;
  /** The time at which it last ran dry, and the length of that before the job in hand. */
  endedUs: number;
  idleUs: number;
}

/** The worker pool: each worker does one job after the other. A job goes to the worker with the least under way. */
export class SimulatedWorkers {
  readonly #options: WorkersOptions;
  readonly #queues: Timed[][];
  readonly #known: Known[];
  readonly #onEnd: (worker: number, endUs: number) => void;
  #idle: number;
  #free: number;
  #dry: number;
  #busyUs = 0;
  #workUs = 0;
  #jobs = 0;
  #calls = 0;

  /** `onEnd` learns when a worker will end the job in hand; again, when that changes. */
  constructor(options: WorkersOptions, onEnd: (worker: number, endUs: number) => void) {
    this.#options = options;
    this.#queues = Array.from({ length: options.cores }, () => []);
    this.#known = Array.from({ length: options.cores }, () => ({
      jobs: 0,
      costUs: 0,
      aheadUs: 0,
      endedUs: 0,
      idleUs: 0,
    }));
    this.#onEnd = onEnd;
    this.#idle = options.cores;
    this.#dry = options.cores;
    this.#free = options.cores * options.slotsPerWorker;
  }

  get freeSlots(): number {
    return this.#free;
  }

  /** Workers without a job, as far as is known to who sends them. */
  get idle(): number {
    return this.#idle;
  }

  /** Workers that have nothing to do. */
  get dry(): number {
    return this.#dry;
  }

  /** Within the window, in microseconds of all workers; `workUs` leaves out what jobs cost beside their calls. */
  get use(): {
    readonly busyUs: number;
    readonly workUs: number;
    readonly jobs: number;
    readonly calls: number;
  } {
    return { busyUs: this.#busyUs, workUs: this.#workUs, jobs: this.#jobs, calls: this.#calls };
  }

  /** There is a free slot. */
  take(job: Job, nowUs: number): void {
    const known = this.#known;
    let least = -1;
    for (let worker = 0; worker < known.length && (least < 0 || known[least]?.jobs !== 0); worker++) {
      if ((known[worker] as Known).jobs >= this.#options.slotsPerWorker) continue;
      if (least < 0 || isBefore(known[worker] as Known, known[least] as Known, job)) least = worker;
    }
    this.#free--;
    const chosen = known[least] as Known;
    if (chosen.jobs++ === 0) this.#idle--;
    chosen.costUs += job.costUs;
    if (job.ahead) chosen.aheadUs += job.costUs;
    const workUs = workOf(job.calls);
    const timed = {
      job,
      workUs,
      begunUs: undefined,
      startUs: 0,
      endUs: undefined,
      leftUs: this.#options.hopUs + workUs,
    };
    const queue = this.#queues[least] as Timed[];
    if (queue.length === 0) {
      this.#dry--;
      chosen.idleUs = nowUs - chosen.endedUs;
      queue.push(timed);
      this.#start(least, nowUs);
    } else if (job.ahead) this.#overtake(least, timed, nowUs);
    else queue.push(timed);
  }

  /** The worker has done its job, unless that was overtaken and ends at another time. */
  finish(worker: number, nowUs: number): Finished | undefined {
    const queue = this.#queues[worker] as Timed[];
    if (queue[0]?.endUs !== nowUs) return undefined;
    const { job, workUs, startUs, begunUs } = this.#suspend(queue.shift() as Timed, nowUs);
    if (this.#inWindow(startUs, nowUs) > 0) {
      this.#jobs++;
      this.#calls += job.calls.length;
    }
    const known = this.#known[worker] as Known;
    const { idleUs } = known;
    known.idleUs = 0;
    if (queue.length > 0) this.#start(worker, nowUs);
    else {
      this.#dry++;
      known.endedUs = nowUs;
    }
    const busyUs = this.#options.hopUs + workUs;
    return { worker, job, startUs: begunUs as number, endUs: nowUs, busyUs, idleUs };
  }

  /** The sender has learned that this job is done. */
  noticed({ worker, job }: Finished): void {
    const known = this.#known[worker] as Known;
    this.#free++;
    known.costUs -= job.costUs;
    if (job.ahead) known.aheadUs -= job.costUs;
    if (--known.jobs > 0) return;
    this.#idle++;
    known.costUs = 0;
    known.aheadUs = 0;
  }

  /** Behind the call that is in hand and others that overtake; then what was in hand goes on. */
  #overtake(worker: number, timed: Timed, nowUs: number): void {
    const queue = this.#queues[worker] as Timed[];
    const first = queue[0] as Timed;
    const borderUs = first.job.ahead ? undefined : this.#nextBorderUs(first, nowUs);
    if (borderUs === undefined || borderUs >= (first.endUs as number)) {
      const behind = queue.findIndex(({ job }, index) => index > 0 && !job.ahead);
      queue.splice(behind < 0 ? queue.length : behind, 0, timed);
      return;
    }
    this.#suspend(first, borderUs);
    queue.unshift(timed);
    this.#start(worker, borderUs);
  }

  /** The end of the call that is in hand. */
  #nextBorderUs({ job, startUs, leftUs, workUs }: Timed, nowUs: number): number {
    const { hopUs } = this.#options;
    // Of the whole job, when it was begun or gone on with.
    const doneUs = hopUs + workUs - leftUs;
    let borderUs = startUs - doneUs + hopUs;
    for (const { realUs } of job.calls) {
      if (borderUs >= nowUs) break;
      borderUs += realUs;
    }
    return borderUs;
  }

  #start(worker: number, nowUs: number): void {
    const timed = (this.#queues[worker] as Timed[])[0] as Timed;
    timed.begunUs ??= nowUs;
    timed.startUs = nowUs;
    timed.endUs = nowUs + timed.leftUs;
    this.#onEnd(worker, timed.endUs);
  }

  /** Counts the part that was done since it was last begun. */
  #suspend(timed: Timed, nowUs: number): Timed {
    const { hopUs } = this.#options;
    const insideUs = this.#inWindow(timed.startUs, nowUs);
    this.#busyUs += insideUs;
    this.#workUs += insideUs * (timed.workUs / (hopUs + timed.workUs));
    timed.leftUs -= nowUs - timed.startUs;
    timed.endUs = undefined;
    return timed;
  }

  #inWindow(fromUs: number, toUs: number): number {
    const { windowUs } = this.#options;
    return Math.max(0, Math.min(toUs, windowUs[1]) - Math.max(fromUs, windowUs[0]));
  }
}

/**
 * A job that overtakes waits for others that do, and hardly for what lies ready; but a worker that has little of that may be free
 * sooner. In the simulator eight is better than one, and than that alone.
 */
const aheadFactor = 8;

function isBefore(one: Known, other: Known, { ahead }: Job): boolean {
  const factor = ahead ? aheadFactor - 1 : 0;
  return one.costUs + factor * one.aheadUs < other.costUs + factor * other.aheadUs;
}

function workOf(calls: readonly SimulatedCall[]): number {
  let workUs = 0;
  for (const call of calls) workUs += call.realUs;
  return workUs;
}
