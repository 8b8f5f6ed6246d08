import type { EventHistory } from '../../audit/event-history.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { type Caller, isOfPlace } from '../../core/scope.ts';
import type { EventSource, ServiceEvent, Subscription } from '../../events/event-source.ts';
import {
  type PublishedEvent,
  type PublishedType,
  publishedEventOf,
  publishedTypeOf,
  publishedTypes,
  typesOfUses,
} from '../../events/published-events.ts';
import type { KeyOperation } from '../operation.ts';

/** Where a feed goes: an answer that goes on. See AnswerStream. */
export interface FeedSink {
  send(text: string): Promise<void> | undefined;
  end(): void;
  onEnd(listener: () => void): void;
}

/** A feed of events as server-sent events (WHATWG HTML, section 9.2): `id`, `event`, `data` with the event as JSON. */
export interface EventFeed {
  /** Called once. */
  open(to: FeedSink): void;
}

export interface EventsRequest {
  /** All where it is undefined. */
  readonly types: readonly PublishedType[] | undefined;
  /** Last-Event-ID: the `id` of the last event that was seen. From now on where it is undefined. */
  readonly lastEventId: string | undefined;
}

/** At a time, of all tenants: each holds a connection. */
export const maxFeeds = 64;
/** Below the minute after which proxies drop a connection on which nothing happens. */
const heartbeatMs = 15_000;
/** A client comes back after so long. */
const retryMs = 3_000;
/** What lies under a checkpoint comes to be so within a second; a log that takes no records has none. */
const historyPollMs = 100;

const full = refuse('Backpressure', 'as many as may listen to events do already', 5_000);
const ending = refuse('NotReady', 'the service stops', 1_000);
const badId = refuse('BadRequest', 'Last-Event-ID: the id of an event of this service');

export interface FeedParts {
  readonly events: EventSource;
  /** Undefined where no log is kept: then a client that was away for long begins anew. */
  readonly history: EventHistory | undefined;
}

/** The feeds of one service, over all reloads of its settings. */
export class EventFeeds {
  readonly #parts: FeedParts;
  readonly #feeds = new Set<Feed>();
  #heartbeat: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: FeedParts) {
    this.#parts = parts;
  }

  get count(): number {
    return this.#feeds.size;
  }

  request({ types = publishedTypes, lastEventId }: EventsRequest, caller: Caller): Result<EventFeed> {
    if (this.#closed) return ending;
    if (this.#feeds.size >= maxFeeds && this.#giving(caller.tenant) === undefined) return full;
    const seen = lastEventId === undefined ? undefined : placeIn(lastEventId);
    if (lastEventId !== undefined && seen === undefined) return badId;
    const wanted = {
      types: new Set(types),
      isFor: (event: PublishedEvent) => isOfPlace(caller, event),
      tenant: caller.tenant,
    };
    return ok({ open: (to) => this.#open(to, wanted, seen) });
  }

  #open(to: FeedSink, wanted: Wanted, seen: Place | undefined): void {
    // Others may have come since this one was let in.
    if (this.#feeds.size >= maxFeeds) this.#giving(wanted.tenant)?.close();
    if (this.#closed || this.#feeds.size >= maxFeeds) {
      to.end();
      return;
    }
    const feed = new Feed(this.#parts, to, wanted);
    this.#feeds.add(feed);
    to.onEnd(() => {
      this.#feeds.delete(feed);
      feed.end();
      if (this.#feeds.size === 0) this.#rest();
    });
    this.#heartbeat ??= setInterval(() => {
      for (const one of this.#feeds) one.beat();
    }, heartbeatMs).unref();
    feed.begin(seen);
  }

  /** The feed that makes room where all are taken: the newest of the tenant with most, for one that has at least two less. */
  #giving(tenant: string): Feed | undefined {
    const byTenant = Map.groupBy(this.#feeds, (feed) => feed.tenant);
    const own = byTenant.get(tenant)?.length ?? 0;
    let most: readonly Feed[] = [];
    for (const feeds of byTenant.values()) if (feeds.length > most.length) most = feeds;
    return most.length > own + 1 ? most.at(-1) : undefined;
  }

  #rest(): void {
    clearInterval(this.#heartbeat);
    this.#heartbeat = undefined;
  }

  /** Ends all; none is opened any more. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const feed of [...this.#feeds]) feed.close();
    this.#rest();
  }
}

interface Wanted {
  readonly types: ReadonlySet<PublishedType>;
  readonly tenant: string;
  /** Of the caller's environments and planes, or without any. */
  readonly isFor: (event: PublishedEvent) => boolean;
}

/** The id of an event: its cursor, and its index on the log, which outlives the process. */
interface Place {
  /** Undefined where it was told from the log. */
  readonly cursor: number | undefined;
  /** Undefined where no log is kept. */
  readonly index: number | undefined;
}

function placeIn(id: string): Place | undefined {
  const [, cursor, index] = /^(\d{1,15})?(?:-(\d{1,15}))?$/.exec(id) ?? [];
  if (cursor === undefined && index === undefined) return undefined;
  const number = (digits: string | undefined) => (digits === undefined ? undefined : Number(digits));
  return { cursor: number(cursor), index: number(index) };
}

/** One listener. Its events wait in the source's bounded buffer and nowhere else; one that falls behind it is dropped. */
class Feed {
  readonly #parts: FeedParts;
  readonly #to: FeedSink;
  readonly #wanted: Wanted;
  #subscription: Subscription | undefined;
  /** Settled when the client has taken what was sent. */
  #behind: Promise<void> | undefined;
  /** Events of the log below this index were sent from the log. */
  #replayedTo = 0;
  #replaying: Promise<void> | undefined;
  #missedBeat = false;
  #ended = false;

  constructor(parts: FeedParts, to: FeedSink, wanted: Wanted) {
    this.#parts = parts;
    this.#to = to;
    this.#wanted = wanted;
  }

  get tenant(): string {
    return this.#wanted.tenant;
  }

  begin(seen: Place | undefined): void {
    this.#send(`retry: ${retryMs}\n\n`);
    if (seen === undefined) {
      if (this.#subscribe(undefined)) return;
    } else {
      // Of this process, and still in its buffer.
      if (seen.cursor !== undefined && this.#subscribe(seen.cursor)) return;
      const { history } = this.#parts;
      const from = seen.index === undefined ? undefined : seen.index + 1;
      // What is told from now on waits until what was told before is sent.
      if (history !== undefined && from !== undefined && from <= history.size)
        this.#replaying = this.#replay(history, from, history.size);
      else this.#send(': events since then are not known any more\n\n');
      if (this.#subscribe(undefined)) return;
    }
    this.close();
  }

  /** Keeps the connection from being taken for dead, and finds that one is. A client that reads nothing for so long is dropped. */
  beat(): void {
    if (this.#behind === undefined) this.#send(':\n\n');
    else if (this.#missedBeat) this.close();
    this.#missedBeat = this.#behind !== undefined;
  }

  close(): void {
    this.#to.end();
  }

  /** The answer has ended. */
  end(): void {
    this.#ended = true;
    this.#subscription?.end();
  }

  #subscribe(after: number | undefined): boolean {
    const { events } = this.#parts;
    const { tenant, types } = this.#wanted;
    const subscription = events.subscribe((event) => this.#take(event), {
      ...(after === undefined ? undefined : { after }),
      ...{ tenant, uses: [...typesOfUses].some((type) => types.has(type)), onEnd: () => this.close() },
    });
    if (typeof subscription === 'string') return false;
    this.#subscription = subscription;
    if (this.#ended) subscription.end();
    return true;
  }

  #take(event: ServiceEvent): Promise<void> | undefined {
    if (this.#replaying !== undefined) return this.#replaying.then(() => this.#take(event));
    if ((event.index ?? this.#replayedTo) < this.#replayedTo) return undefined;
    const type = publishedTypeOf(event);
    if (type === undefined || !this.#wanted.types.has(type)) return undefined;
    const told = publishedEventOf(event, event.cursor);
    if (told === undefined || !this.#wanted.isFor(told)) return undefined;
    const { cursor, index } = event;
    return this.#tell(index === undefined ? String(cursor) : `${cursor}-${index}`, told);
  }

  #tell(id: string, event: PublishedEvent): Promise<void> | undefined {
    const text = `id: ${id}\nevent: ${event.event_type}\ndata: ${JSON.stringify(event)}\n\n`;
    return this.#behind === undefined ? this.#send(text) : this.#behind.then(() => this.#send(text));
  }

  #send(text: string): Promise<void> | undefined {
    const behind = this.#to.send(text);
    this.#behind = behind?.then(() => {
      this.#behind = undefined;
    });
    return this.#behind;
  }

  /** Everything from `from` on that was on the log when the feed began. */
  async #replay(history: EventHistory, from: number, to: number): Promise<void> {
    let next = from;
    while (!this.#ended && next < to) {
      const page = await history.page(this.#wanted.tenant, next);
      if (this.#ended) return;
      if (!page.ok || page.value.next === next) {
        await new Promise((resolve) => setTimeout(resolve, historyPollMs).unref());
        continue;
      }
      for (const { index, event } of page.value.events) {
        if (!this.#wanted.types.has(event.event_type) || !this.#wanted.isFor(event)) continue;
        await this.#tell(`-${index}`, event);
      }
      next = page.value.next;
    }
    this.#replayedTo = next;
    this.#replaying = undefined;
  }
}

/** What happens to the tenant's keys and trust anchors, as it happens. */
export function eventsOperation(feeds: EventFeeds | undefined): KeyOperation<EventsRequest, EventFeed> {
  return {
    ...{ kind: 'keys', name: 'event_feed', scope: 'kms:read', receipt: () => ({}) },
    run: (request, caller) => (feeds === undefined ? refuse('Unsupported') : feeds.request(request, caller)),
  };
}
