import type { AnswerStream } from './exchange.ts';

/** A listener's way to send a part of an answer. */
export interface ChunkWriter {
  /** False: the client is behind, and `drained` is called when there is room again. */
  write(text: string): boolean;
  end(): void;
  /** Ends the connection, with what has not left. */
  drop(): void;
}

/** The part of an answer that goes on which all listeners have in common. */
export class OpenAnswer implements AnswerStream {
  readonly #to: ChunkWriter;
  #ended = false;
  #onEnd: (() => void) | undefined;
  #caughtUp: (() => void) | undefined;

  constructor(to: ChunkWriter) {
    this.#to = to;
  }

  send(text: string): Promise<void> | undefined {
    if (this.#ended || this.#to.write(text)) return undefined;
    return new Promise((resolve) => {
      this.#caughtUp = resolve;
    });
  }

  end(): void {
    if (this.#ended) return;
    // Nobody knows when a client that is behind would take the end.
    if (this.#caughtUp === undefined) this.#to.end();
    else this.#to.drop();
    this.gone();
  }

  onEnd(listener: () => void): void {
    if (this.#ended) listener();
    else this.#onEnd = listener;
  }

  /** For the listener: there is room again. */
  drained(): void {
    const caughtUp = this.#caughtUp;
    this.#caughtUp = undefined;
    caughtUp?.();
  }

  /** For the listener: the connection has ended. */
  gone(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.drained();
    this.#onEnd?.();
  }
}
