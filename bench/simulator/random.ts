/**
 * A repeatable sequence of numbers: xoshiro128++ 1.0 (Blackman and Vigna, 2019, https://prng.di.unimi.it/), seeded
 * through SplitMix64 as its authors advise. For simulations only, never for anything that must not be guessed.
 */
export class Random {
  #s0: number;
  #s1: number;
  #s2: number;
  #s3: number;
  #spareNormal: number | undefined;

  /** The generator's own state: four 32 bit words, not all zero. */
  constructor(state: readonly [number, number, number, number]) {
    [this.#s0, this.#s1, this.#s2, this.#s3] = state;
  }

  /** The sequence number `stream` of this seed; sequences of one seed are independent of each other. */
  static seeded(seed: number, stream: number): Random {
    let mixer = (BigInt(seed) + BigInt(stream) * 2n * goldenGamma) & mask64;
    const next = (): [number, number] => {
      mixer = (mixer + goldenGamma) & mask64;
      let mixed = mixer;
      mixed = ((mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n) & mask64;
      mixed = ((mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn) & mask64;
      mixed ^= mixed >> 31n;
      return [Number(mixed & 0xffffffffn), Number(mixed >> 32n)];
    };
    return new Random([...next(), ...next()]);
  }

  /** 0 to 2^32 - 1. */
  word(): number {
    const sum = (this.#s0 + this.#s3) | 0;
    const result = (((sum << 7) | (sum >>> 25)) + this.#s0) >>> 0;
    const shifted = this.#s1 << 9;
    this.#s2 ^= this.#s0;
    this.#s3 ^= this.#s1;
    this.#s1 ^= this.#s2;
    this.#s0 ^= this.#s3;
    this.#s2 ^= shifted;
    this.#s3 = (this.#s3 << 11) | (this.#s3 >>> 21);
    return result;
  }

  /** Above 0 and below 1, in steps of 2^-32. */
  uniform(): number {
    return (this.word() + 0.5) / 2 ** 32;
  }

  /** Exponential with this mean: the time between two events of a Poisson process. */
  exponential(mean: number): number {
    return -Math.log(this.uniform()) * mean;
  }

  /** Standard normal (Box and Muller, 1958). */
  normal(): number {
    const spare = this.#spareNormal;
    if (spare !== undefined) {
      this.#spareNormal = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.#spareNormal = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Log-normal with mean 1. */
  logNormal(sigma: number): number {
    return Math.exp(sigma * this.normal() - (sigma * sigma) / 2);
  }

  /** Number of attempts, at least 1, when each succeeds with this probability. */
  attempts(probability: number): number {
    return 1 + Math.floor(Math.log(this.uniform()) / Math.log1p(-probability));
  }
}

const goldenGamma = 0x9e3779b97f4a7c15n;
const mask64 = 0xffffffffffffffffn;
