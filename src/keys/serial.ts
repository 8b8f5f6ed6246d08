import { type Result, refuse } from '../core/result.ts';

/** Runs the tasks of one name one after the other, in the order in which they came; those of different names side by side. */
export class Serial {
  readonly #maxWaiting: number;
  readonly #lanes = new Map<string, { last: Promise<unknown>; size: number }>();

  /** `maxWaiting` for each name, besides the one that runs. */
  constructor(maxWaiting: number) {
    this.#maxWaiting = maxWaiting;
  }

  async run<T>(name: string, task: () => Promise<Result<T>>): Promise<Result<T>> {
    const lane = this.#lanes.get(name) ?? { last: Promise.resolve(), size: 0 };
    if (lane.size > this.#maxWaiting) return refuse('Backpressure', undefined, 1_000);
    this.#lanes.set(name, lane);
    lane.size += 1;
    const result = lane.last.then(task);
    // A task that throws is a bug of that task and does not keep the next one from running.
    lane.last = result.catch(() => undefined);
    try {
      return await result;
    } finally {
      lane.size -= 1;
      if (lane.size === 0) this.#lanes.delete(name);
    }
  }
}
