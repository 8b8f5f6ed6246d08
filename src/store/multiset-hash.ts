import type { MacKey } from '../core/mac-key.ts';

/**
 * MSet-Add-Hash of Clarke, Devadas, van Dijk, Gassend and Suh, "Incremental Multiset Hash Functions and Their Application to
 * Memory Integrity Checking", ASIACRYPT 2003, section 5, with HMAC-SHA-256 as the pseudorandom function H and n = 256:
 *
 *   hash of M under K = ( H_K(0, r) + sum over b in M of H_K(1, b)  mod 2^256 ; |M| ; r )
 *
 * An element is added or taken away with one H, whatever the size of M. The paper proves that nobody without K finds another
 * multiset for a hash. 0 and 1 are one byte before what follows; numbers are big endian.
 */
export class MultisetHash {
  readonly #key: MacKey;
  /** The sum in eight lanes of 32 bits, the highest first, whose carries wait: a quarter of the time that a BigInt takes. */
  readonly #lanes: Float64Array;
  #waiting = 0;
  #count: number;

  constructor(key: MacKey, from?: MultisetHash) {
    this.#key = key;
    this.#lanes = from === undefined ? new Float64Array(lanes) : from.#lanes.slice();
    this.#waiting = from === undefined ? 0 : from.#waiting;
    this.#count = from === undefined ? 0 : from.#count;
  }

  get count(): number {
    return this.#count;
  }

  add(element: Uint8Array): void {
    this.#sum(1, element, 1);
    this.#count += 1;
  }

  remove(element: Uint8Array): void {
    this.#sum(1, element, -1);
    this.#count -= 1;
  }

  /** The hash for this nonce, which is fresh whenever the hash is shown to anybody; 32 bytes. */
  hash(nonce: Uint8Array): Buffer {
    const masked = this.clone();
    masked.#sum(0, nonce, 1);
    masked.#carry();
    const bytes = Buffer.allocUnsafe(lanes * 4);
    for (let lane = 0; lane < lanes; lane++) bytes.writeUInt32BE(masked.#lanes[lane] as number, lane * 4);
    return bytes;
  }

  clone(): MultisetHash {
    return new MultisetHash(this.#key, this);
  }

  /** The multiset that `hash(nonce)` was of, as far as further elements need it. */
  static of(key: MacKey, hash: Uint8Array, count: number, nonce: Uint8Array): MultisetHash {
    const multiset = new MultisetHash(key);
    multiset.#addNumber(hash, 1);
    multiset.#sum(0, nonce, -1);
    multiset.#count = count;
    return multiset;
  }

  #sum(which: 0 | 1, input: Uint8Array, sign: 1 | -1): void {
    const message = Buffer.allocUnsafe(1 + input.length);
    message[0] = which;
    message.set(input, 1);
    this.#addNumber(this.#key.mac(message), sign);
  }

  #addNumber(number: Uint8Array, sign: 1 | -1): void {
    const all = this.#lanes;
    for (let lane = 0, at = 0; lane < lanes; lane++, at += 4) {
      const low =
        ((number[at + 1] as number) << 16) | ((number[at + 2] as number) << 8) | (number[at + 3] as number);
      all[lane] = (all[lane] as number) + sign * ((number[at] as number) * 2 ** 24 + low);
    }
    if (++this.#waiting >= mostWaiting) this.#carry();
  }

  #carry(): void {
    let carry = 0;
    for (let lane = lanes - 1; lane >= 0; lane--) {
      const sum = (this.#lanes[lane] as number) + carry;
      carry = Math.floor(sum / 2 ** 32);
      this.#lanes[lane] = sum - carry * 2 ** 32;
    }
    this.#waiting = 0;
  }
}

const lanes = 8;
/** Of numbers below 2^32, so many add up to less than 2^53. */
const mostWaiting = 2 ** 20;
