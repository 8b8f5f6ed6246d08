/**
 * Tells a queue that stands from a burst, as CoDel does (RFC 8289): more waits than is to wait, and did so without a pause
 * for an interval. Kept for each tenant, as in RFC 8290, so that whoever keeps to its share is not held to it.
 */

/** A burst may use what its deadline gives it for so long. RFC 8289 (section 4.3) has the same interval. */
const intervalMs = 100;

/**
 * So long after the last refusal a burst is a new one. A refusal is held back for a second at most, and a pause of the machine
 * is shorter: neither of them is the end of an overload.
 */
const overAfterMs = 1_000;

/** Tells a queue that stands from a burst. There is one for each tenant that has more than its part. */
class Standing {
  #aboveSinceMs: number | undefined;
  #heldUntilMs = Number.NEGATIVE_INFINITY;

  /** A call comes and finds too much waiting, or not. True: it is refused, because this has lasted. */
  refuses(above: boolean, nowMs: number): boolean {
    if (!above) {
      this.#aboveSinceMs = undefined;
      return false;
    }
    this.#aboveSinceMs ??= nowMs;
    if (nowMs >= this.#heldUntilMs && nowMs - this.#aboveSinceMs < intervalMs) return false;
    this.#heldUntilMs = nowMs + overAfterMs;
    return true;
  }

  /** True if it knows nothing that a new one would not know. */
  isOver(nowMs: number): boolean {
    return this.#aboveSinceMs === undefined && nowMs >= this.#heldUntilMs;
  }
}

/** Tenants before those whose queue no longer stands are looked for. Each takes about 100 bytes. */
const sweepFrom = 1_024;

/** One for each tenant that lately had more waiting than its part. */
export class StandingQueues {
  readonly #of = new Map<string, Standing>();
  #sweepAt = sweepFrom;
  #refusedAtMs = Number.NEGATIVE_INFINITY;

  get size(): number {
    return this.#of.size;
  }

  /** True if a call was refused lately. */
  stand(nowMs: number): boolean {
    return nowMs - this.#refusedAtMs < overAfterMs;
  }

  /** As Standing; a tenant that never has too much waiting takes no memory. */
  refuses(tenant: string, above: boolean, nowMs: number): boolean {
    const refused = this.#judge(tenant, above, nowMs);
    if (refused) this.#refusedAtMs = nowMs;
    return refused;
  }

  #judge(tenant: string, above: boolean, nowMs: number): boolean {
    const known = this.#of.get(tenant);
    if (known !== undefined) return known.refuses(above, nowMs);
    if (!above) return false;
    if (this.#of.size >= this.#sweepAt) this.#sweep(nowMs);
    const standing = new Standing();
    this.#of.set(tenant, standing);
    return standing.refuses(above, nowMs);
  }

  /** The rest have calls waiting, or had a moment ago, so they are bounded by the calls that may wait. */
  #sweep(nowMs: number): void {
    for (const [tenant, standing] of this.#of) if (standing.isOver(nowMs)) this.#of.delete(tenant);
    this.#sweepAt = Math.max(sweepFrom, 2 * this.#of.size);
  }
}
