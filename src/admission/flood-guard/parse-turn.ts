/**
 * The rest of a request's segment is parsed before the event loop goes on, and a second request there ends the connection. So
 * work that must not happen without an answer begins only after that: in the check phase (setImmediate), when everything that
 * this turn has read is parsed. Requests of one turn share one callback.
 */
export class ParseTurn {
  readonly #soon: (callBack: () => void) => void;
  #beginning: (() => void)[] = [];
  #ending: (() => void)[] = [];
  #scheduled = false;
  readonly #end = (): void => {
    const beginning = this.#beginning;
    const ending = this.#ending;
    this.#beginning = [];
    this.#ending = [];
    this.#scheduled = false;
    for (const begin of beginning) begin();
    for (const end of ending) end();
  };

  /** `soon` calls back once all that was read is parsed, and before anything else is read: setImmediate. */
  constructor(soon: (callBack: () => void) => void) {
    this.#soon = soon;
  }

  /** None of these may throw: others of the same turn come behind it. */
  afterParsing(begin: () => void): void {
    this.#beginning.push(begin);
    this.#schedule();
  }

  /** After everything that waited for the parsing of this turn has begun. */
  atEnd(end: () => void): void {
    this.#ending.push(end);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#soon(this.#end);
  }
}
