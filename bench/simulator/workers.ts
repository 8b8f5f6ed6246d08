import type { SimulatedCall } from './call.ts';

/** Calls that go to a worker together. */
export interface Job {
  readonly calls: readonly SimulatedCall[];
  /** To be called when the job's slot is free again. */
  readonly done: () => void;
}

interface Timed {
  readonly job: Job;
  readonly workUs: number;
}

export interface WorkersOptions {
  readonly cores: number;
  /** Jobs that a worker holds: the one it does and those behind it, as the port of a real thread does. */
  readonly slotsPerWorker: number;
  /** What each job costs its worker beside its calls, in microseconds: waking, decoding, answering. */
  readonly hopUs: number;
  /** Use of the workers is counted from here to there, in microseconds of virtual time. */
  readonly windowUs: readonly [number, number];
}

/** The worker pool: each worker does one job after the other. A job goes to the worker with the fewest. */
export class SimulatedWorkers {
  readonly #options: WorkersOptions;
  readonly #queues: Timed[][];
  readonly #onStart: (worker: number, job: Job, endUs: number) => void;
  #idle: number;
  #free: number;
  #busyUs = 0;
  #workUs = 0;
  #jobs = 0;
  #calls = 0;

  /** `onStart` learns when a worker begins with a job and when it will end. */
  constructor(options: WorkersOptions, onStart: (worker: number, job: Job, endUs: number) => void) {
    this.#options = options;
    this.#queues = Array.from({ length: options.cores }, () => []);
    this.#onStart = onStart;
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
    let workUs = 0;
    for (const call of job.calls) workUs += call.realUs;
    this.#free--;
    const queue = queues[least] as Timed[];
    queue.push({ job, workUs });
    if (queue.length === 1) {
      this.#idle--;
      this.#start(least, nowUs);
    }
  }

  /** The worker has done its job. */
  finish(worker: number, nowUs: number): Job {
    const queue = this.#queues[worker] as Timed[];
    const { job } = queue.shift() as Timed;
    this.#free++;
    if (queue.length > 0) this.#start(worker, nowUs);
    else this.#idle++;
    return job;
  }

  #start(worker: number, nowUs: number): void {
    const { job, workUs } = (this.#queues[worker] as Timed[])[0] as Timed;
    const { hopUs, windowUs } = this.#options;
    const endUs = nowUs + hopUs + workUs;
    const insideUs = Math.min(endUs, windowUs[1]) - Math.max(nowUs, windowUs[0]);
    if (insideUs > 0) {
      this.#busyUs += insideUs;
      this.#workUs += insideUs * (workUs / (hopUs + workUs));
      this.#jobs++;
      this.#calls += job.calls.length;
    }
    this.#onStart(worker, job, endUs);
  }
}
