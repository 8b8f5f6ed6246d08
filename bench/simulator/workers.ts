import type { SimulatedCall } from './call.ts';

/** Calls that go to a worker together. */
export interface Job {
  readonly calls: readonly SimulatedCall[];
  /** True if it may end between two of its calls. */
  readonly interruptible: boolean;
  /** To be called when the job's slot is free again, with the number of calls that were done. */
  readonly done: (count: number) => void;
}

interface Timed {
  readonly job: Job;
  workUs: number;
  /** Calls that will have been done; fewer than it has once it was interrupted. */
  count: number;
  startUs: number;
  /** The time of its end, as far as is known; undefined before it starts. */
  endUs: number | undefined;
}

export interface WorkersOptions {
  readonly cores: number;
  /** Jobs that a worker holds: the one it does and those behind it, as the port of a real thread does. */
  readonly slotsPerWorker: number;
  /** The cost of each job to its worker beside its calls, in microseconds: waking, decoding, answering. */
  readonly hopUs: number;
  /** Use of the workers is counted from here to there, in microseconds of virtual time. */
  readonly windowUs: readonly [number, number];
}

/** The worker pool: each worker does one job after the other. A job goes to the worker with the fewest. */
export class SimulatedWorkers {
  readonly #options: WorkersOptions;
  readonly #queues: Timed[][];
  readonly #onEnd: (worker: number, endUs: number) => void;
  #idle: number;
  #free: number;
  #busyUs = 0;
  #workUs = 0;
  #jobs = 0;
  #calls = 0;

  /** `onEnd` learns when a worker will end its job; again, when that changes. */
  constructor(options: WorkersOptions, onEnd: (worker: number, endUs: number) => void) {
    this.#options = options;
    this.#queues = Array.from({ length: options.cores }, () => []);
    this.#onEnd = onEnd;
    this.#idle = options.cores;
    this.#free = options.cores * options.slotsPerWorker;
  }

  get freeSlots(): number {
    return this.#free;
  }

  get idle(): number {
    return this.#idle;
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
    const queues = this.#queues;
    let least = 0;
    for (let worker = 1; worker < queues.length && queues[least]?.length !== 0; worker++) {
      if ((queues[worker] as Timed[]).length < (queues[least] as Timed[]).length) least = worker;
    }
    this.#free--;
    const queue = queues[least] as Timed[];
    queue.push({ job, workUs: workOf(job.calls), count: job.calls.length, startUs: 0, endUs: undefined });
    if (queue.length === 1) {
      this.#idle--;
      this.#start(least, nowUs);
    }
  }

  /** Ends the interruptible jobs of the worker that has this one, after the call that is in hand. */
  interrupt(job: Job, nowUs: number): void {
    const worker = this.#queues.findIndex((queue) => queue.some((timed) => timed.job === job));
    for (const timed of this.#queues[worker] ?? []) {
      if (!timed.job.interruptible) continue;
      const { calls } = timed.job;
      const left = timed.endUs === undefined ? 0 : nowUs - timed.startUs - this.#options.hopUs;
      let count = 0;
      for (let doneUs = 0; doneUs < left && count < calls.length; count++)
        doneUs += (calls[count] as SimulatedCall).realUs;
      if (count >= timed.count) continue;
      timed.count = count;
      timed.workUs = workOf(calls.slice(0, count));
      if (timed.endUs !== undefined) this.#endsAt(worker, timed, nowUs);
    }
  }

  /** The worker has done its job, unless that was interrupted and is no longer there, or ends at another time. */
  finish(
    worker: number,
    nowUs: number,
  ): { readonly job: Job; readonly count: number; readonly startUs: number } | undefined {
    const queue = this.#queues[worker] as Timed[];
    if (queue[0]?.endUs !== nowUs) return undefined;
    const timed = queue.shift() as Timed;
    this.#count(timed, nowUs);
    this.#free++;
    if (queue.length > 0) this.#start(worker, nowUs);
    else this.#idle++;
    return timed;
  }

  #start(worker: number, nowUs: number): void {
    const timed = (this.#queues[worker] as Timed[])[0] as Timed;
    timed.startUs = nowUs;
    this.#endsAt(worker, timed, nowUs);
  }

  #endsAt(worker: number, timed: Timed, nowUs: number): void {
    timed.endUs = Math.max(nowUs, timed.startUs + this.#options.hopUs + timed.workUs);
    this.#onEnd(worker, timed.endUs);
  }

  #count({ workUs, count, startUs }: Timed, endUs: number): void {
    const { hopUs, windowUs } = this.#options;
    const insideUs = Math.min(endUs, windowUs[1]) - Math.max(startUs, windowUs[0]);
    if (insideUs <= 0) return;
    this.#busyUs += insideUs;
    this.#workUs += insideUs * (workUs / (hopUs + workUs));
    this.#jobs++;
    this.#calls += count;
  }
}

function workOf(calls: readonly SimulatedCall[]): number {
  let workUs = 0;
  for (const call of calls) workUs += call.realUs;
  return workUs;
}
