/** What has happened in a service, as its record on the audit log says it. */
export interface ServiceEvent {
  /**
   * Grows from event to event of one store, over restarts of a service that keeps a log too. Numbers are left out; nothing
   * follows from how many.
   */
  readonly cursor: number;
  /** Position of its record in the audit log; undefined where none is kept. */
  readonly index: number | undefined;
  /** UTC, milliseconds since 1970. */
  readonly atMs: number;
  /** `key.created`, `key.derived`, `key.used`, …; of other records the type that they have: `token.mint`, `config.reloaded`. */
  readonly kind: string;
  readonly tenant: string;
  /** Without its version; undefined where it is about no key. */
  readonly keyId: string | undefined;
  /** 0 where it is about a whole key, or about none. */
  readonly version: number;
  readonly alg: string;
  readonly operation: string;
  /** ok | invalid | denied:<code> | error:<code> */
  readonly result: string;
  /** A pseudonym. */
  readonly actor: string;
  readonly opId: string;
  readonly data: Readonly<Record<string, string | number>>;
}

export type NewEvent = Omit<ServiceEvent, 'cursor' | 'atMs'>;

/** The kind of a plain use of a key: of these there are thousands a second, and nobody else pays for them. */
export const keyUsed = 'key.used';

/** A listener that returns a promise gets the next event when it is settled. */
export type EventListener = (event: ServiceEvent) => void | Promise<void>;

export interface SubscribeOptions {
  /** The cursor of the last event that was seen; from now on where it is absent. */
  readonly after?: number;
  /** Uses of keys as well. */
  readonly uses?: boolean;
  /** Only those of one tenant. */
  readonly tenant?: string;
  /**
   * The subscription has ended by itself: `behind` the listener was so slow that events are gone, `failed` it threw, `closed` the
   * service has ended.
   */
  readonly onEnd?: (why: 'behind' | 'failed' | 'closed') => void;
}

export interface Subscription {
  /** Idempotent; no event comes afterwards. */
  end(): void;
}

/** Where everybody learns what happens in a service. */
export interface EventSource {
  /** `gone`: what came after this cursor is not kept any more, or never was; `full`: as many as may be are subscribed. */
  subscribe(listener: EventListener, options?: SubscribeOptions): Subscription | 'gone' | 'full';
  /** The cursor of the newest event; undefined before the first of this process. */
  readonly newest: number | undefined;
}

/** About 4 MB. A second of signatures, and more changes of keys than happen while a listener connects anew. */
export const keptEvents = 8_192;
/** Each takes its turn of the event loop; more belong to whoever fans out. */
const maxSubscriptions = 256;
/** Events that one listener gets before the others have their turn. */
const eventsPerTurn = 64;

interface Subscriber extends SubscribeOptions {
  readonly listener: EventListener;
  /** The place in the order of all events that comes next. */
  next: number;
  running: boolean;
}

/** Events in a bounded buffer, from which each listener takes at its own pace: a slow one keeps nobody else waiting. */
export class ServiceEvents implements EventSource {
  readonly #utcMs: () => number;
  readonly #kept: (ServiceEvent | undefined)[] = new Array(keptEvents);
  readonly #subscribers = new Set<Subscriber>();
  /** Events so far, in this process. */
  #count = 0;
  #cursor: number | undefined;
  #userCount = 0;
  #closed = false;

  constructor(clock: { utcMs(): number }) {
    this.#utcMs = () => clock.utcMs();
  }

  get newest(): number | undefined {
    return this.#cursor;
  }

  /** True if somebody wants uses of keys. */
  get wantsUses(): boolean {
    return this.#userCount > 0;
  }

  publish(event: NewEvent): void {
    if (this.#closed) return;
    // A log has at least one record for each event, so that its size after a restart is beyond every cursor given before.
    const cursor = this.#cursor === undefined ? (event.index ?? 0) : this.#cursor + 1;
    this.#cursor = cursor;
    this.#kept[this.#count % keptEvents] = { ...event, cursor, atMs: this.#utcMs() };
    this.#count++;
    for (const subscriber of this.#subscribers) this.#wake(subscriber);
  }

  subscribe(listener: EventListener, options: SubscribeOptions = {}): Subscription | 'gone' | 'full' {
    if (this.#closed) return 'gone';
    if (this.#subscribers.size >= maxSubscriptions) return 'full';
    const next = this.#placeAfter(options.after);
    if (next === undefined) return 'gone';
    const subscriber: Subscriber = { ...options, listener, next, running: false };
    this.#subscribers.add(subscriber);
    if (options.uses === true) this.#userCount++;
    this.#wake(subscriber);
    return { end: () => this.#remove(subscriber) };
  }

  close(): void {
    this.#closed = true;
    for (const subscriber of [...this.#subscribers]) this.#end(subscriber, 'closed');
    this.#kept.fill(undefined);
  }

  /** The place of the event that follows a cursor; undefined where that cannot be said any more. */
  #placeAfter(after: number | undefined): number | undefined {
    if (after === undefined) return this.#count;
    if (this.#cursor === undefined) return undefined;
    const back = this.#cursor - after;
    return back < 0 || back > Math.min(this.#count, keptEvents) ? undefined : this.#count - back;
  }

  #wake(subscriber: Subscriber): void {
    if (subscriber.running || subscriber.next >= this.#count) return;
    subscriber.running = true;
    // Never within the call whose event it is.
    setImmediate(() => void this.#hand(subscriber));
  }

  async #hand(subscriber: Subscriber): Promise<void> {
    const { listener, tenant, uses } = subscriber;
    for (let handed = 0; handed < eventsPerTurn && subscriber.next < this.#count; handed++) {
      if (!this.#subscribers.has(subscriber)) return;
      if (this.#count - subscriber.next > keptEvents) return this.#end(subscriber, 'behind');
      const event = this.#kept[subscriber.next % keptEvents];
      subscriber.next++;
      if (event === undefined || (event.kind === keyUsed && uses !== true)) continue;
      if (tenant !== undefined && event.tenant !== tenant) continue;
      try {
        const taken = listener(event);
        if (taken instanceof Promise) await taken;
      } catch {
        return this.#end(subscriber, 'failed');
      }
    }
    subscriber.running = false;
    this.#wake(subscriber);
  }

  #end(subscriber: Subscriber, why: 'behind' | 'failed' | 'closed'): void {
    if (!this.#remove(subscriber)) return;
    try {
      subscriber.onEnd?.(why);
    } catch {
      // It is told once, and what it does with that is its own affair.
    }
  }

  #remove(subscriber: Subscriber): boolean {
    if (!this.#subscribers.delete(subscriber)) return false;
    if (subscriber.uses === true) this.#userCount--;
    return true;
  }
}
