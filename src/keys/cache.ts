/**
 * A map of at most `capacity` entries. A hit only sets a mark, so that a look-up on the hot path moves nothing; when room
 * is needed, the oldest entry without a mark goes (second chance, an approximation of least recently used).
 */
export class BoundedCache<T> {
  readonly #capacity: number;
  readonly #dropped: (value: T) => void;
  readonly #slots = new Map<string, { value: T; used: boolean }>();

  /** `dropped` is told of every value that leaves, also of a replaced one. */
  constructor(capacity: number, dropped: (value: T) => void) {
    this.#capacity = capacity;
    this.#dropped = dropped;
  }

  get size(): number {
    return this.#slots.size;
  }

  get(key: string): T | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined) return undefined;
    slot.used = true;
    return slot.value;
  }

  set(key: string, value: T): void {
    const slot = this.#slots.get(key);
    if (slot !== undefined) {
      const before = slot.value;
      slot.value = value;
      if (before !== value) this.#dropped(before);
      return;
    }
    if (this.#slots.size >= this.#capacity) this.#evict();
    this.#slots.set(key, { value, used: false });
  }

  delete(key: string): void {
    const slot = this.#slots.get(key);
    if (slot === undefined) return;
    this.#slots.delete(key);
    this.#dropped(slot.value);
  }

  clear(): void {
    for (const key of [...this.#slots.keys()]) this.delete(key);
  }

  /** Ends: each entry that is passed over loses its mark. */
  #evict(): void {
    for (const [key, slot] of this.#slots) {
      this.#slots.delete(key);
      if (!slot.used) {
        this.#dropped(slot.value);
        return;
      }
      slot.used = false;
      this.#slots.set(key, slot);
    }
  }
}
