import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { hrtimeMs } from '../core/clock.ts';
import type { BatchJob, BatchJobAnswer, LookJob, WarmUpJob } from './job.ts';

/**
 * Jobs that overtake what lies ready at a worker. A worker that has jobs in its port reads none of them before the one in
 * hand is done, so these come by a port of their own, and a word in shared memory counts them: looking costs nanoseconds.
 */
export interface OvertakingJob {
  readonly id: number;
  readonly job: BatchJob;
}

export interface OvertakingAnswer {
  readonly id: number;
  /** Undefined where the engine threw. */
  readonly answer: BatchJobAnswer | undefined;
}

/** Called by a worker between two slices; does what has come meanwhile. Returns how long that took, in milliseconds. */
export function createOvertakingReader(
  counter: SharedArrayBuffer,
  run: (job: BatchJob) => BatchJobAnswer,
): { readonly connection: number; connect(job: WarmUpJob): void; look(): number } {
  const word = new Int32Array(counter);
  let port: MessagePort | undefined;
  let connection = 0;
  let seen = Atomics.load(word, 0);
  return {
    get connection() {
      return connection;
    },
    connect(job) {
      ({ port, connection } = job);
    },
    look() {
      const count = Atomics.load(word, 0);
      if (count === seen || port === undefined) return 0;
      // Before the messages are read: one that comes meanwhile is counted later, and found then.
      seen = count;
      const beganMs = hrtimeMs();
      for (let entry = receiveMessageOnPort(port); entry !== undefined; entry = receiveMessageOnPort(port)) {
        const { id, job } = entry.message as OvertakingJob;
        port.postMessage({ id, answer: tryRun(run, job) } satisfies OvertakingAnswer);
      }
      return hrtimeMs() - beganMs;
    },
  };
}

function tryRun(run: (job: BatchJob) => BatchJobAnswer, job: BatchJob): BatchJobAnswer | undefined {
  try {
    return run(job);
  } catch {
    return undefined;
  }
}

/** The main thread's end of the port, for one life of a worker. */
export class OvertakingSender {
  readonly #port: MessagePort;
  readonly #word: Int32Array;
  readonly #connection: number;
  readonly #waiting = new Map<number, PromiseWithResolvers<BatchJobAnswer>>();
  readonly #look: (job: LookJob) => Promise<unknown>;
  #lastId = 0;
  #looking = false;

  /** `look` sends a job; that it rejects, or answers with another than `true`, means that the worker is gone. */
  constructor(
    port: MessagePort,
    connection: number,
    counter: SharedArrayBuffer,
    look: (job: LookJob) => Promise<unknown>,
  ) {
    this.#port = port;
    this.#look = look;
    this.#connection = connection;
    this.#word = new Int32Array(counter);
    port.on('message', ({ id, answer }: OvertakingAnswer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (answer === undefined) waiting?.reject(new Error('a job that overtook others failed'));
      else waiting?.resolve(answer);
    });
    // The pool's threads keep the process alive as long as they should.
    port.unref();
  }

  send(job: BatchJob): Promise<BatchJobAnswer> {
    const id = ++this.#lastId;
    const waiting = Promise.withResolvers<BatchJobAnswer>();
    this.#waiting.set(id, waiting);
    this.#port.postMessage({ id, job } satisfies OvertakingJob);
    Atomics.add(this.#word, 0, 1);
    if (!this.#looking) void this.#lookBehind();
    return waiting.promise;
  }

  /**
   * A worker that has nothing more in its port sleeps, and sees no word. So a job that looks lies behind all others, one at a
   * time, as long as an answer is due; what comes after it has looked is found by the next one.
   */
  async #lookBehind(): Promise<void> {
    this.#looking = true;
    try {
      while (this.#waiting.size > 0) {
        if ((await this.#look({ kind: 'look', connection: this.#connection })) !== true)
          throw new Error('the worker was replaced');
      }
    } catch (cause) {
      for (const { reject } of this.#waiting.values()) reject(cause);
      this.#waiting.clear();
    }
    this.#looking = false;
  }

  close(): void {
    this.#port.close();
  }
}
