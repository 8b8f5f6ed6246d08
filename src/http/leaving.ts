/** Answers that were given and have not yet left. */
export class Leaving {
  #count = 0;
  #idle: (() => void)[] = [];

  begin(): void {
    this.#count++;
  }

  /** It has left, or its client has gone. */
  end(): void {
    this.#count--;
    if (this.#count > 0) return;
    for (const resolve of this.#idle) resolve();
    this.#idle = [];
  }

  async drained(): Promise<void> {
    while (this.#count > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }
}
