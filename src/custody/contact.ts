import type { Clock } from '../core/clock.ts';
import type { HomeContact } from './custody.ts';

/** The state of the way to a token, with whoever wants to know of its changes. */
export class Contact implements HomeContact {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #listeners: ((contact: HomeContact) => void)[] = [];
  #up = false;
  #reason: string | undefined = 'it is not open yet';
  #lastContactAtMs = Number.NEGATIVE_INFINITY;
  trying = false;
  timeouts = 0;

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  get up(): boolean {
    return this.#up;
  }

  get lastContactAtMs(): number {
    return this.#lastContactAtMs;
  }

  get reason(): string | undefined {
    return this.#reason;
  }

  onChange(listener: (contact: HomeContact) => void): void {
    this.#listeners.push(listener);
  }

  /** It answered. */
  made(): void {
    this.#lastContactAtMs = this.#clock.monotonicMs();
    this.#set(true, undefined);
  }

  lost(reason: string): void {
    this.#set(false, reason);
  }

  #set(up: boolean, reason: string | undefined): void {
    const changed = up !== this.#up || reason !== this.#reason;
    this.#up = up;
    this.#reason = reason;
    if (changed) for (const listener of this.#listeners) listener(this);
  }
}
