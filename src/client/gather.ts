import { errorOf } from './errors.ts';

interface Waiting {
  readonly item: unknown;
  readonly deadlineAtMs: number;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** As many as a service takes in one request, by its default. */
const maxItems = 256;

/** Gathers calls of one kind for a moment and sends them as one batch. Each has its own answer or error. */
export class Gatherer {
  readonly #waitMs: number;
  readonly #send: (items: readonly unknown[], deadlineAtMs: number) => Promise<unknown>;
  #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(waitMs: number, send: (items: readonly unknown[], deadlineAtMs: number) => Promise<unknown>) {
    this.#waitMs = waitMs;
    this.#send = send;
  }

  add(item: unknown, deadlineAtMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, deadlineAtMs, resolve, reject });
      if (this.#waiting.length >= maxItems) this.#flush();
      else this.#timer ??= setTimeout(() => this.#flush(), this.#waitMs);
    });
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const calls = this.#waiting;
    this.#waiting = [];
    this.#ask(calls).catch((error) => {
      for (const { reject } of calls) reject(error);
    });
  }

  async #ask(calls: readonly Waiting[]): Promise<void> {
    const soonest = Math.min(...calls.map(({ deadlineAtMs }) => deadlineAtMs));
    const body = await this.#send(
      calls.map(({ item }) => item),
      soonest,
    );
    const { results } = body as { results: readonly object[] };
    calls.forEach(({ resolve, reject }, n) => {
      const answer = results[n] ?? {};
      if ('error' in answer) reject(errorOf(answer));
      else resolve(answer);
    });
  }
}
