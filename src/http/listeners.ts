import type { Listener, ListenerHandlers } from './exchange.ts';

/** Several listeners, opened and ended together. */
export class Listeners {
  readonly #all: readonly Listener[];

  readonly #ended: () => void;

  /** `ended` is called when they close. */
  constructor(all: readonly Listener[], ended: () => void = () => {}) {
    this.#all = all;
    this.#ended = ended;
  }

  /** Resolves with their URLs, in order. Rejects with a StartError where one of them cannot listen; then none does. */
  async listen(handlers: ListenerHandlers): Promise<readonly string[]> {
    const urls: string[] = [];
    try {
      for (const listener of this.#all) urls.push(await listener.listen(handlers));
    } catch (cause) {
      this.close();
      throw cause;
    }
    return urls;
  }

  stopAccepting(): void {
    for (const listener of this.#all) listener.stopAccepting();
  }

  async drain(): Promise<void> {
    await Promise.all(this.#all.map((listener) => listener.drain()));
  }

  close(): void {
    this.#ended();
    for (const listener of this.#all) listener.close();
  }
}
