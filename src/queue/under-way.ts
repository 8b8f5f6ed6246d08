import type { Call } from './scheduler.ts';

interface Part {
  calls: number;
  costUs: number;
  /** As it was when the first of them came: a reload may change it. */
  readonly weight: number;
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
        const weight = this.#weightOf(tenant);
        this.#parts.set(tenant, { calls: 1, costUs, weight });
        this.#weight += weight;
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
      this.#weight -= part.weight;
    }
    // Sums of fractions: what rounding has left in them does not pile up over months.
    if (this.#parts.size === 0) {
      this.#costUs = 0;
      this.#weight = 0;
    }
  }
}
