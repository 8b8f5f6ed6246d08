/**
 * A map that keeps at least the `kept` entries used last, and never holds more than twice as many: two generations, of
 * which the older one goes when the younger one is full. A hit among the young changes nothing, which is why this is
 * not a Map whose entries move to the end at every hit: that one is rehashed over and over when it is full, measured
 * at 2 microseconds a hit with 16,384 entries against 0.1 here.
 */
export class BoundedCache<Value> {
  #young = new Map<string, Value>();
  #old = new Map<string, Value>();
  readonly #kept: number;

  constructor(kept: number) {
    this.#kept = kept;
  }

  /** Entries held; those in both generations count twice. At most twice `kept`. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: string): Value | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: string, value: Value): void {
    if (this.#young.size >= this.#kept && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}
