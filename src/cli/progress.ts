/** On a terminal the line is rewritten at this pace; in a log file a line now and then is enough. */
const terminalMs = 200;
const fileMs = 5_000;

/** The progress of a long command, on standard error. */
export class Progress {
  readonly #doing: string;
  readonly #unit: string;
  readonly #startedMs = Date.now();
  #shownMs = Date.now();
  #shown = false;

  constructor(doing: string, unit: string) {
    this.#doing = doing;
    this.#unit = unit;
  }

  at(done: number, of: number): void {
    const now = Date.now();
    if (now - this.#shownMs < (process.stderr.isTTY ? terminalMs : fileMs)) return;
    this.#shownMs = now;
    this.#shown = true;
    const seconds = (now - this.#startedMs) / 1000;
    const rate = done / seconds;
    const left = rate > 0 ? `, ${Math.ceil((of - done) / rate)} s left` : '';
    const percent = of === 0 ? 100 : Math.floor((done / of) * 100);
    const line = `${this.#doing}: ${done.toLocaleString('en')} of ${of.toLocaleString('en')} ${this.#unit}, ${percent}%${left}`;
    process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#shown && process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  }

  get seconds(): number {
    return (Date.now() - this.#startedMs) / 1000;
  }
}
