/** Enough of a random number to tell it from all others here: those of 131,072 messages are alike once in 2^62. */
const nonceBytes = 12;
/** Nonces of each of two generations, about 80 bytes each; a source that repeats does so soon. */
const maxNonces = 65_536;

/**
 * The random numbers that lately began a message: the nonce of an AEAD, the encapsulated key of a KEM. One that comes again is of a
 * source that repeats, after which a second message would give both away (NIST SP 800-38D, appendix A).
 */
export class RecentNonces {
  readonly #onRepeated: () => void;
  #recent = new Set<string>();
  #older = new Set<string>();

  /** `onRepeated`: for the operator's log. Must not throw. */
  constructor(onRepeated: () => void) {
    this.#onRepeated = onRepeated;
  }

  /** True where it was here before, so that what it begins must not leave. */
  repeats(random: Uint8Array): boolean {
    const name = Buffer.from(random.buffer, random.byteOffset, Math.min(nonceBytes, random.length)).toString(
      'latin1',
    );
    if (this.#recent.has(name) || this.#older.has(name)) {
      this.#onRepeated();
      return true;
    }
    this.#recent.add(name);
    if (this.#recent.size >= maxNonces) {
      this.#older = this.#recent;
      this.#recent = new Set();
    }
    return false;
  }
}
