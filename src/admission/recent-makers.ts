const slices = 12;
const sliceMs = 5_000;
/** Tenants at a time, about 100 bytes for each slice; whoever comes beyond that made few. */
const maxNames = 1_024;

/** The number of new keys that each tenant made in the last minute, to within five seconds. Time is handed in. */
export class RecentMakers {
  readonly #totals = new Map<string, number>();
  readonly #slices: Map<string, number>[] = Array.from({ length: slices }, () => new Map());
  #slice = 0;

  add(tenant: string, nowMs: number): void {
    this.#forget(nowMs);
    const total = this.#totals.get(tenant) ?? 0;
    if (total === 0 && this.#totals.size >= maxNames) return;
    this.#totals.set(tenant, total + 1);
    const slice = this.#slices[this.#slice % slices] as Map<string, number>;
    slice.set(tenant, (slice.get(tenant) ?? 0) + 1);
  }

  /** The tenant that made most; of several the one that began first. Undefined where nobody made any. */
  most(nowMs: number): string | undefined {
    this.#forget(nowMs);
    let most: string | undefined;
    let largest = 0;
    for (const [tenant, total] of this.#totals) {
      if (total <= largest) continue;
      largest = total;
      most = tenant;
    }
    return most;
  }

  #forget(nowMs: number): void {
    const current = Math.floor(nowMs / sliceMs);
    const steps = Math.min(slices, current - this.#slice);
    for (let n = 1; n <= steps; n++) {
      const slice = this.#slices[(current - steps + n) % slices] as Map<string, number>;
      for (const [tenant, count] of slice) {
        const left = (this.#totals.get(tenant) ?? 0) - count;
        if (left > 0) this.#totals.set(tenant, left);
        else this.#totals.delete(tenant);
      }
      slice.clear();
    }
    // A clock that goes back leaves everything where it is.
    if (steps > 0) this.#slice = current;
  }
}
