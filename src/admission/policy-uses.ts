import { RateLimits } from './rate-limits.ts';

const dayMs = 86_400_000;
/** Different limits at a time. A policy has a few, and each may count that many keys. */
const maxLimits = 32;
/** Keys of one limit, about 300 bytes each. */
const maxKeys = 16_384;

/** Uses of keys within the limits that policy gives with its decisions, in memory: a restart begins anew. */
export class PolicyUses {
  readonly #limits = new Map<number, RateLimits>();

  /** 0, or milliseconds until a use is there. Infinity is no limit. Beyond 32 different limits the oldest count is dropped. */
  take(keyId: string, perDay: number, nowMs: number): number {
    if (perDay === Number.POSITIVE_INFINITY) return 0;
    let limits = this.#limits.get(perDay);
    if (limits === undefined) {
      const [oldest] = this.#limits.keys();
      if (oldest !== undefined && this.#limits.size >= maxLimits) this.#limits.delete(oldest);
      limits = new RateLimits([{ count: perDay, windowMs: dayMs }], maxKeys);
      this.#limits.set(perDay, limits);
    }
    return limits.take(keyId, nowMs);
  }

  /** A use that was permitted and not begun. */
  giveBack(keyId: string): void {
    for (const limits of this.#limits.values()) limits.giveBack(keyId, 1);
  }
}
