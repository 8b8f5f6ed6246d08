import type { Clock } from '../../core/clock.ts';

/** Calls of 20 us each: a burst of 5 ms of the thread. */
const maxDeferred = 256;
/** Of one turn of the event loop, so that it soon reads again what others have sent. */
const turnMs = 0.25;

export interface DeferredCallsParts {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Calls back in this turn of the event loop, or in the next one. */
  readonly soon: (callBack: () => void) => void;
}

/** Calls that were read and let go on later, a few in each turn, in their order. */
export class DeferredCalls {
  readonly #parts: DeferredCallsParts;
  readonly #waiting: (() => void)[] = [];
  #scheduled = false;
  readonly #goOn = (): void => {
    const { clock } = this.#parts;
    const untilMs = clock.monotonicMs() + turnMs;
    do this.#waiting.shift()?.();
    while (this.waiting > 0 && clock.monotonicMs() < untilMs);
    this.#scheduled = false;
    if (this.waiting > 0) this.#schedule();
  };

  constructor(parts: DeferredCallsParts) {
    this.#parts = parts;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** False where too many wait. */
  add(goOn: () => void): boolean {
    if (this.waiting >= maxDeferred) return false;
    this.#waiting.push(goOn);
    this.#schedule();
    return true;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#parts.soon(this.#goOn);
  }
}
