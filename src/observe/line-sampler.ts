interface Kind {
  /** The second, on the caller's clock, in which lines were last counted. */
  second: number;
  /** Events of that second. */
  events: number;
  /** Events without a line since the last line. */
  leftOut: number;
}

/** As many lines of a kind in each second: enough to see who is refused and what for, few enough to read. */
const firstOfSecond = 10;

/** Of further ones. A flood is refused forty times a millisecond and a line costs some 10 us: so it takes less than 0.1 % of a core. */
const everyNth = 1_000;

/** Bounds the lines that events of a kind make, and counts those left out. Kinds come from a closed list. */
export class LineSampler {
  readonly #kinds = new Map<string, Kind>();

  /** One event of this kind: how many before it had no line, or undefined where it has none itself. */
  take(kind: string, nowMs: number): number | undefined {
    const second = Math.floor(nowMs / 1_000);
    let known = this.#kinds.get(kind);
    if (known === undefined) {
      known = { second, events: 0, leftOut: 0 };
      this.#kinds.set(kind, known);
    }
    if (known.second !== second) {
      known.second = second;
      known.events = 0;
    }
    known.events++;
    if (known.events > firstOfSecond && (known.events - firstOfSecond) % everyNth !== 0) {
      known.leftOut++;
      return undefined;
    }
    const { leftOut } = known;
    known.leftOut = 0;
    return leftOut;
  }
}
