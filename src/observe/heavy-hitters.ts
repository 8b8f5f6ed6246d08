/**
 * The heaviest users, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005). A name whose true use is above
 * total / capacity is surely among the counters; a count may be too high by at most the smallest counter.
 */
export class HeavyHitters {
  readonly #capacity: number;
  readonly #counts = new Map<string, number>();
  #total = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  add(name: string, amount: number): void {
    this.#total += amount;
    const count = this.#counts.get(name);
    if (count !== undefined) {
      this.#counts.set(name, count + amount);
    } else if (this.#counts.size < this.#capacity) {
      this.#counts.set(name, amount);
    } else {
      const [least, leastCount] = this.#least();
      this.#counts.delete(least);
      this.#counts.set(name, leastCount + amount);
    }
  }

  /** Yesterday's use fades: half of it is forgotten at each call. */
  fade(): void {
    this.#total /= 2;
    for (const [name, count] of this.#counts) {
      if (count < 1) this.#counts.delete(name);
      else this.#counts.set(name, count / 2);
    }
  }

  /** The largest first, as parts of the total; what is left is everybody else's. */
  top(limit: number): readonly { readonly name: string; readonly share: number }[] {
    const total = Math.max(this.#total, Number.MIN_VALUE);
    return [...this.#counts]
      .sort(([, a], [, b]) => b - a)
      .slice(0, limit)
      .map(([name, count]) => ({ name, share: Math.min(1, count / total) }));
  }

  share(name: string): number {
    return this.#total === 0 ? 0 : Math.min(1, (this.#counts.get(name) ?? 0) / this.#total);
  }

  // Only tenants beyond the capacity come here, and the capacity is small.
  #least(): [string, number] {
    let least: [string, number] = ['', Number.POSITIVE_INFINITY];
    for (const entry of this.#counts) if (entry[1] < least[1]) least = entry;
    return least;
  }
}
