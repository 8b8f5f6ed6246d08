import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { BatchJob, BatchJobAnswer, LookJob, WarmUpJob } from './job.ts';

/**
 * Jobs that overtake what lies ready at a worker. A worker that has jobs in its port reads none of them before the one in
 * hand is done, so these come by a port of their own, and a word in shared memory counts them: looking costs nanoseconds.
 */
export interface OvertakingJob {
  readonly id: number;
  readonly batches: BatchJob['batches'];
}

export interface OvertakingAnswer {
  readonly id: number;
  /** Undefined where the engine threw. */
  readonly answer: BatchJobAnswer | undefined;
}

/** By process.hrtime, which has one origin in all threads (performance.now has one for each). */
export function hrtimeMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000 + nanoseconds / 1e6;
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
        const { id, batches } = entry.message as OvertakingJob;
        port.postMessage({ id, answer: tryRun(run, batches) } satisfies OvertakingAnswer);
      }
      return hrtimeMs() - beganMs;
    },
  };
}

function tryRun(
  run: (job: BatchJob) => BatchJobAnswer,
  batches: BatchJob['batches'],
): BatchJobAnswer | undefined {
  try {
    return run({ kind: 'batch', batches });
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
  #lastId = 0;

  constructor(port: MessagePort, connection: number, counter: SharedArrayBuffer) {
    this.#port = port;
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

  /** `look` sends a job behind those that lie ready; its answer says whether the worker is still there. */
  send(batches: BatchJob['batches'], look: (job: LookJob) => Promise<unknown>): Promise<BatchJobAnswer> {
    const id = ++this.#lastId;
    const waiting = Promise.withResolvers<BatchJobAnswer>();
    this.#waiting.set(id, waiting);
    this.#port.postMessage({ id, batches } satisfies OvertakingJob);
    Atomics.add(this.#word, 0, 1);
    const lost = (cause: unknown) => {
      this.#waiting.delete(id);
      waiting.reject(cause);
    };
    look({ kind: 'look', connection: this.#connection }).then((there) => {
      if (there !== true) lost(new Error('the worker was replaced'));
    }, lost);
    return waiting.promise;
  }

  close(): void {
    this.#port.close();
  }
}
