/**
 * Jain's index of fairness (Jain, Chiu, Hawe, DEC-TR-301, 1984): 1 when all values are equal, 1/n when one has all.
 * Undefined without values, or when all are 0.
 */
export function jainIndex(values: readonly number[]): number | undefined {
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  return squares === 0 ? undefined : (sum * sum) / (values.length * squares);
}

/** One tenant's demand, in microseconds of work, and its weight. */
export interface Demand {
  readonly demandUs: number;
  readonly weight: number;
}

/**
 * The weighted max-min fair division of `capacityUs`: nobody gets more than it asks for, and what one leaves is divided
 * among the others by weight. In the order of the demands.
 */
export function maxMinSharesUs(demands: readonly Demand[], capacityUs: number): Float64Array {
  const shares = new Float64Array(demands.length);
  const order = demands.map((demand, index) => ({ index, ...demand }));
  order.sort((a, b) => a.demandUs / a.weight - b.demandUs / b.weight || a.index - b.index);
  let leftUs = capacityUs;
  let leftWeight = demands.reduce((sum, { weight }) => sum + weight, 0);
  for (const { index, demandUs, weight } of order) {
    const shareUs = Math.min(demandUs, (leftUs * weight) / leftWeight);
    shares[index] = shareUs;
    leftUs = Math.max(0, leftUs - shareUs);
    leftWeight -= weight;
  }
  return shares;
}

/**
 * The distance, at any time, between the services of tenants that always have calls waiting, per weight. It starts when all of
 * them begin to wait.
 */
export class ServiceSpread {
  readonly #servedUs: Float64Array;
  readonly #weights: Float64Array;
  #leastUs = 0;
  #mostUs = 0;
  /** The number of tenants at the least service. */
  #atLeast: number;
  #maxUs = 0;

  constructor(weights: readonly number[]) {
    this.#weights = Float64Array.from(weights);
    this.#servedUs = new Float64Array(weights.length);
    this.#atLeast = weights.length;
  }

  /** Largest difference so far, in microseconds of service at weight 1. */
  get maxUs(): number {
    return this.#maxUs;
  }

  serve(member: number, costUs: number): void {
    const beforeUs = this.#servedUs[member] as number;
    const afterUs = beforeUs + costUs / (this.#weights[member] as number);
    this.#servedUs[member] = afterUs;
    this.#mostUs = Math.max(this.#mostUs, afterUs);
    if (beforeUs === this.#leastUs && --this.#atLeast === 0) this.#findLeast();
    this.#maxUs = Math.max(this.#maxUs, this.#mostUs - this.#leastUs);
  }

  #findLeast(): void {
    let leastUs = Number.POSITIVE_INFINITY;
    let count = 0;
    for (const servedUs of this.#servedUs) {
      if (servedUs < leastUs) {
        leastUs = servedUs;
        count = 1;
      } else if (servedUs === leastUs) count++;
    }
    this.#leastUs = leastUs;
    this.#atLeast = count;
  }
}
