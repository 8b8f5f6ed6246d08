/**
 * The events to come: a binary heap of (time, event), earliest first; of two at the same time the one that was added first.
 * Events are plain integers, kept in typed arrays, so that millions of them leave nothing to collect.
 */
export class EventQueue {
  #times = new Float64Array(1024);
  #orders = new Float64Array(1024);
  #events = new Int32Array(1024);
  #size = 0;
  #added = 0;

  get size(): number {
    return this.#size;
  }

  /** Time of the earliest event; undefined when there is none. */
  get nextTime(): number | undefined {
    return this.#size === 0 ? undefined : this.#times[0];
  }

  add(time: number, event: number): void {
    if (this.#size === this.#times.length) this.#grow();
    let at = this.#size++;
    const order = this.#added++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      // A parent at the same time was added earlier.
      if ((this.#times[parent] as number) <= time) break;
      this.#move(parent, at);
      at = parent;
    }
    this.#put(at, time, order, event);
  }

  /** Takes the earliest event. There is at least one. */
  take(): number {
    const taken = this.#events[0] as number;
    const last = --this.#size;
    const time = this.#times[last] as number;
    const order = this.#orders[last] as number;
    const event = this.#events[last] as number;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= last) break;
      if (child + 1 < last && this.#before(child + 1, child)) child++;
      const childTime = this.#times[child] as number;
      if (childTime > time || (childTime === time && (this.#orders[child] as number) > order)) break;
      this.#move(child, at);
      at = child;
    }
    this.#put(at, time, order, event);
    return taken;
  }

  #before(a: number, b: number): boolean {
    const difference = (this.#times[a] as number) - (this.#times[b] as number);
    return difference < 0 || (difference === 0 && (this.#orders[a] as number) < (this.#orders[b] as number));
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#times[from] as number, this.#orders[from] as number, this.#events[from] as number);
  }

  #put(at: number, time: number, order: number, event: number): void {
    this.#times[at] = time;
    this.#orders[at] = order;
    this.#events[at] = event;
  }

  #grow(): void {
    const length = this.#times.length * 2;
    const grown = <A extends Float64Array | Int32Array>(wider: A, from: A): A => {
      wider.set(from);
      return wider;
    };
    this.#times = grown(new Float64Array(length), this.#times);
    this.#orders = grown(new Float64Array(length), this.#orders);
    this.#events = grown(new Int32Array(length), this.#events);
  }
}
