/**
 * A map of at most `capacity` entries. A hit only sets a mark, so that a look-up on the hot path moves nothing. When room is
 * needed a hand goes round the entries in the order in which they came, takes marks away, and stops at the first entry
 * without one, which goes (the clock algorithm, an approximation of least recently used).
 */
export class BoundedCache<Key, Value> {
  readonly #capacity: number;
  readonly #dropped: ((value: Value) => void) | undefined;
  readonly #slots = new Map<Key, { value: Value; used: boolean }>();
  /**
   * Kept between evictions: a new iterator walks over all that was deleted before it, which with 65,536 entries made a miss cost
   * 20 microseconds instead of 1.
   */
  #hand = this.#slots.entries();

  /** `dropped` is told of every value that leaves, also of a replaced one. */
  constructor(capacity: number, dropped?: (value: Value) => void) {
    this.#capacity = capacity;
    this.#dropped = dropped;
  }

  /** Entries held, at most `capacity`. */
  get size(): number {
    return this.#slots.size;
  }

  get(key: Key): Value | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined) return undefined;
    slot.used = true;
    return slot.value;
  }

  set(key: Key, value: Value): void {
    const slot = this.#slots.get(key);
    if (slot !== undefined) {
      const before = slot.value;
      slot.value = value;
      if (before !== value) this.#dropped?.(before);
      return;
    }
    if (this.#slots.size >= this.#capacity) this.#evict();
    this.#slots.set(key, { value, used: false });
  }

  delete(key: Key): void {
    const slot = this.#slots.get(key);
    if (slot === undefined) return;
    this.#slots.delete(key);
    this.#dropped?.(slot.value);
  }

  clear(): void {
    for (const key of [...this.#slots.keys()]) this.delete(key);
  }

  #evict(): void {
    for (let passed = 0; ; passed++) {
      const [key, slot] = this.#next();
      if (!slot.used || passed === maxPassed) {
        this.delete(key);
        return;
      }
      slot.used = false;
    }
  }

  /** The entry that the hand comes to. There is one: it is only moved where the map is full. */
  #next(): [Key, { value: Value; used: boolean }] {
    let at = this.#hand.next();
    if (at.done) {
      this.#hand = this.#slots.entries();
      at = this.#hand.next();
    }
    return at.value as [Key, { value: Value; used: boolean }];
  }
}

/** Some 10 microseconds. Once round 65,536 entries that are all in use would hold everybody up for 2 milliseconds. */
const maxPassed = 256;
