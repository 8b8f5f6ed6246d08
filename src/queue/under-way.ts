import type { Call } from './scheduler.ts';

interface Part {
  calls: number;
  costUs: number;
}

/** Calls that workers have, done or lying ready, by tenant. */
export class UnderWay {
  readonly #weightOf: (tenant: string) => number;
  readonly #parts = new Map<string, Part>();
  #costUs = 0;
  #weight = 0;

  constructor(weightOf: (tenant: string) => number = () => 1) {
    this.#weightOf = weightOf;
  }

  get costUs(): number {
    return this.#costUs;
  }

  /** Of the tenants that have calls under way, together. */
  get weight(): number {
    return this.#weight;
  }

  has(tenant: string): boolean {
    return this.#parts.has(tenant);
  }

  costOf(tenant: string): number {
    return this.#parts.get(tenant)?.costUs ?? 0;
  }

  add(calls: readonly Call[]): void {
    for (const { tenant, costUs } of calls) {
      this.#costUs += costUs;
      const part = this.#parts.get(tenant);
      if (part === undefined) {
        this.#parts.set(tenant, { calls: 1, costUs });
        this.#weight += this.#weightOf(tenant);
      } else {
        part.calls++;
        part.costUs += costUs;
      }
    }
  }

  remove(calls: readonly Call[]): void {
    for (const { tenant, costUs } of calls) {
      this.#costUs -= costUs;
      const part = this.#parts.get(tenant) as Part;
      part.costUs -= costUs;
      if (--part.calls > 0) continue;
      this.#parts.delete(tenant);
      this.#weight -= this.#weightOf(tenant);
    }
    // Sums of fractions: what rounding has left in them does not pile up over months.
    if (this.#parts.size === 0) {
      this.#costUs = 0;
      this.#weight = 0;
    }
  }
}
