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
  #sum = 0n;
  #count = 0;

  constructor(key: MacKey) {
    this.#key = key;
  }

  get count(): number {
    return this.#count;
  }

  add(element: Uint8Array): void {
    this.#sum = (this.#sum + this.#function(1, element)) & mask;
    this.#count += 1;
  }

  remove(element: Uint8Array): void {
    this.#sum = (this.#sum - this.#function(1, element)) & mask;
    this.#count -= 1;
  }

  /** The hash for this nonce, which is fresh whenever the hash is shown to anybody; 32 bytes. */
  hash(nonce: Uint8Array): Buffer {
    return toBytes((this.#sum + this.#function(0, nonce)) & mask);
  }

  clone(): MultisetHash {
    const copy = new MultisetHash(this.#key);
    copy.#sum = this.#sum;
    copy.#count = this.#count;
    return copy;
  }

  /** The multiset that `hash(nonce)` was of, as far as further elements need it. */
  static of(key: MacKey, hash: Uint8Array, count: number, nonce: Uint8Array): MultisetHash {
    const multiset = new MultisetHash(key);
    multiset.#sum = (toNumber(hash) - multiset.#function(0, nonce)) & mask;
    multiset.#count = count;
    return multiset;
  }

  #function(which: 0 | 1, input: Uint8Array): bigint {
    const message = Buffer.allocUnsafe(1 + input.length);
    message[0] = which;
    message.set(input, 1);
    return toNumber(this.#key.mac(message));
  }
}

const bits = 256;
const mask = (1n << BigInt(bits)) - 1n;

function toNumber(bytes: Uint8Array): bigint {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let number = 0n;
  for (let at = 0; at < bits / 8; at += 8) number = (number << 64n) | view.readBigUInt64BE(at);
  return number;
}

function toBytes(number: bigint): Buffer {
  return Buffer.from(number.toString(16).padStart(bits / 4, '0'), 'hex');
}
