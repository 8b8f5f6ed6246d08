import { createSecretKey, type KeyObject, randomUUID } from 'node:crypto';
import type { EventHistory } from '../audit/event-history.ts';
import type { Clock } from '../core/clock.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import type { PublishedEvent } from '../events/published-events.ts';
import { type Posted, postJson } from './post.ts';
import { secretText, signWebhook } from './signature.ts';
import { judgedLookup, type Resolve, type TargetRule, targetOf } from './targets.ts';
import {
  type DeliveryState,
  isForWebhook,
  type MadeWebhook,
  type NewWebhook,
  type Webhook,
  type Webhooks,
  type WebhookView,
} from './webhook.ts';
import type { WebhookStore } from './webhook-store.ts';

export interface DeliveryObserver {
  /** An attempt ended: `ok`, an HTTP status, or a word. */
  attempted(result: string): void;
  /** An event was given up, or a webhook disabled. For metrics and the operator's log. */
  gaveUp(webhook: Webhook, reason: 'attempts' | 'gone'): void;
}

export interface DeliveryParts {
  readonly history: EventHistory;
  /** The name of the log now. */
  readonly origin: () => string;
  readonly store: WebhookStore;
  /** The 32 bytes of a webhook's secret, always the same. */
  readonly secretOf: (webhook: Pick<Webhook, 'tenant' | 'id'>) => Promise<Result<Uint8Array>>;
  readonly rule: TargetRule;
  readonly resolve: Resolve;
  readonly clock: Pick<Clock, 'utcMs'>;
  readonly observer: DeliveryObserver;
  readonly times?: DeliveryTimes;
}

export interface DeliveryTimes {
  /** Between the attempts at one event; there is one attempt more than these. */
  readonly retryAfterMs: readonly number[];
  /** Of one attempt. */
  readonly timeoutMs: number;
  readonly lookEveryMs: number;
}

const [minuteMs, hourMs] = [60_000, 3_600_000];

/** As Standard Webhooks proposes: a receiver that is repaired within a day misses nothing. */
export const usualTimes: DeliveryTimes = {
  retryAfterMs: [
    5_000,
    minuteMs,
    5 * minuteMs,
    30 * minuteMs,
    2 * hourMs,
    5 * hourMs,
    8 * hourMs,
    10 * hourMs,
  ],
  timeoutMs: 10_000,
  // What lies under a checkpoint comes to be so within a second.
  lookEveryMs: 500,
};

/** Each has one delivery under way, and its own look at the log. */
export const maxWebhooksOfTenant = 8;
export const maxWebhooks = 256;
/** Records that are looked at again after a kill, where none of them was sent. */
const keepEvery = 5_000;

const tooMany = refuse('Conflict', `a tenant has ${maxWebhooksOfTenant} webhooks at most; delete one`);
const tooManyInAll = refuse('Conflict', 'this service has as many webhooks as it may have');

interface Held {
  readonly webhook: Webhook;
  state: DeliveryState;
  /** Of what the store has. */
  keptNext: number;
  key: KeyObject | undefined;
  running: Promise<void> | undefined;
  removed: boolean;
  /** Breaks off the attempt under way where it is being removed. */
  cancelled: AbortController;
}

/**
 * Sends what the log tells, in its order, and each event until its receiver has said that it has it: at least once, also over restarts,
 * as the place in the log is kept in the store. A receiver that is away holds up nobody but itself.
 */
export class WebhookDeliveries implements Webhooks {
  readonly #parts: DeliveryParts;
  readonly #times: DeliveryTimes;
  readonly #held = new Map<string, Held>();
  readonly #cancelled = new AbortController();
  /** Of tenants, while webhooks are being added. */
  readonly #adding = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  /** Refuses as the store does. */
  static async open(parts: DeliveryParts): Promise<Result<WebhookDeliveries>> {
    const deliveries = new WebhookDeliveries(parts);
    const found = await parts.store.all(deliveries.#fromNow());
    if (!found.ok) return found;
    for (const { webhook, state } of found.value) deliveries.#hold(webhook, state);
    return ok(deliveries);
  }

  private constructor(parts: DeliveryParts) {
    this.#parts = parts;
    this.#times = parts.times ?? usualTimes;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.look(), this.#times.lookEveryMs).unref();
  }

  /** Breaks off what is under way, which is sent again after the next start. Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#cancelled.abort();
    await Promise.all([...this.#held.values()].map(({ running }) => running));
  }

  async add(
    wanted: NewWebhook,
    before: (made: Webhook) => Promise<Result<void>>,
  ): Promise<Result<MadeWebhook>> {
    const { tenant } = wanted;
    const full = this.#refusalOf(tenant);
    if (full !== undefined) return full;
    this.#adding.set(tenant, (this.#adding.get(tenant) ?? 0) + 1);
    try {
      return await this.#add(wanted, before);
    } finally {
      const left = (this.#adding.get(tenant) ?? 1) - 1;
      if (left === 0) this.#adding.delete(tenant);
      else this.#adding.set(tenant, left);
    }
  }

  async #add(
    wanted: NewWebhook,
    before: (made: Webhook) => Promise<Result<void>>,
  ): Promise<Result<MadeWebhook>> {
    const { clock, resolve, rule, secretOf, store } = this.#parts;
    const url = await targetOf(wanted.url, rule, resolve);
    if (!url.ok) return url;
    const webhook: Webhook = {
      ...{ id: randomUUID(), tenant: wanted.tenant, environment: wanted.environment, plane: wanted.plane },
      ...{ url: url.value.href, types: wanted.types, createdAtMs: clock.utcMs() },
    };
    const secret = await secretOf(webhook);
    if (!secret.ok) return secret;
    const allowed = await before(webhook);
    if (!allowed.ok) return allowed;
    const state = this.#fromNow();
    const added = await store.add(webhook, state);
    if (!added.ok) return added;
    this.#hold(webhook, state);
    return ok({ ...webhook, secret: secretText(secret.value) });
  }

  list(tenant: string): readonly WebhookView[] {
    return [...this.#held.values()].filter(({ webhook }) => webhook.tenant === tenant).map(viewOf);
  }

  find(tenant: string, id: string): WebhookView | undefined {
    const held = this.#held.get(nameOf({ tenant, id: id.toLowerCase() }));
    return held && viewOf(held);
  }

  async remove(
    tenant: string,
    id: string,
    before: (webhook: Webhook) => Promise<Result<void>>,
  ): Promise<Result<Webhook>> {
    const held = this.#held.get(nameOf({ tenant, id: id.toLowerCase() }));
    if (held === undefined) return refuse('NotFound');
    const allowed = await before(held.webhook);
    if (!allowed.ok) return allowed;
    held.removed = true;
    // Whoever removes a receiver that does not answer waits for none of its answers.
    held.cancelled.abort();
    await held.running;
    const removed = await this.#parts.store.remove(held.webhook);
    if (!removed.ok) {
      held.removed = false;
      held.cancelled = new AbortController();
      return removed;
    }
    this.#held.delete(nameOf(held.webhook));
    return ok(held.webhook);
  }

  /** Begins whatever is due. */
  look(): void {
    const nowMs = this.#parts.clock.utcMs();
    for (const held of this.#held.values()) {
      const { disabled, notBeforeMs } = held.state;
      if (held.running !== undefined || held.removed || disabled || nowMs < notBeforeMs) continue;
      if (held.state.origin === this.#parts.origin() && held.state.next >= this.#parts.history.end) continue;
      held.running = this.#goOn(held).finally(() => {
        held.running = undefined;
      });
    }
  }

  #refusalOf(tenant: string): Refused | undefined {
    const adding = [...this.#adding.values()].reduce((sum, count) => sum + count, 0);
    if (this.#held.size + adding >= maxWebhooks) return tooManyInAll;
    const own = this.list(tenant).length + (this.#adding.get(tenant) ?? 0);
    return own >= maxWebhooksOfTenant ? tooMany : undefined;
  }

  /** What happens from now on. */
  #fromNow(): DeliveryState {
    const { history, origin } = this.#parts;
    return {
      ...{ origin: origin(), next: history.size, attempts: 0, notBeforeMs: 0, givenUp: 0 },
      disabled: false,
    };
  }

  #hold(webhook: Webhook, state: DeliveryState): void {
    const key = undefined;
    const held: Held = {
      ...{ webhook, state, keptNext: state.next, key, running: undefined, removed: false },
      cancelled: new AbortController(),
    };
    this.#held.set(nameOf(webhook), held);
  }

  /** As far as the log goes, or until an attempt fails. */
  async #goOn(held: Held): Promise<void> {
    const { history, origin } = this.#parts;
    // After an accepted loss another log has begun, with an index from 0.
    if (held.state.origin !== origin()) held.state = { ...held.state, origin: origin(), next: 0 };
    while (!this.#isOver(held)) {
      const page = await history.page(held.webhook.tenant, held.state.next);
      if (!page.ok || page.value.next <= held.state.next) return;
      for (const { index, event } of page.value.events) {
        if (this.#isOver(held)) return;
        if (!isForWebhook(held.webhook, event)) continue;
        held.state = { ...held.state, next: index };
        if (!(await this.#deliver(held, index, event))) return;
      }
      held.state = { ...held.state, next: page.value.next };
      if (held.state.next - held.keptNext >= keepEvery) await this.#keep(held);
    }
  }

  #isOver(held: Held): boolean {
    return held.removed || held.state.disabled || this.#cancelled.signal.aborted;
  }

  /** One attempt; true where the next event may follow. */
  async #deliver(held: Held, index: number, event: PublishedEvent): Promise<boolean> {
    const { observer, clock } = this.#parts;
    const posted = await this.#post(held, event);
    // Broken off, or without a secret: as if it had not been tried.
    if (posted === undefined || this.#cancelled.signal.aborted || held.cancelled.signal.aborted) return false;
    observer.attempted('status' in posted ? statusWord(posted.status) : posted.problem);
    const { attempts, givenUp } = held.state;
    const done = { ...held.state, next: index + 1, attempts: 0, notBeforeMs: 0 };
    if ('status' in posted && posted.status >= 200 && posted.status < 300) {
      held.state = done;
    } else if ('status' in posted && posted.status === 410) {
      held.state = { ...held.state, disabled: true };
      observer.gaveUp(held.webhook, 'gone');
    } else {
      const waitMs = this.#times.retryAfterMs[attempts];
      if (waitMs === undefined) {
        held.state = { ...done, givenUp: givenUp + 1 };
        observer.gaveUp(held.webhook, 'attempts');
      } else {
        // Receivers that failed together are not asked together.
        const notBeforeMs = clock.utcMs() + waitMs * (1 + Math.random() / 10);
        held.state = { ...held.state, attempts: attempts + 1, notBeforeMs: Math.ceil(notBeforeMs) };
      }
    }
    await this.#keep(held);
    return held.state.next > index && !held.state.disabled;
  }

  async #post(held: Held, event: PublishedEvent): Promise<Posted | undefined> {
    const { clock, resolve, rule, secretOf } = this.#parts;
    if (held.key === undefined) {
      const secret = await secretOf(held.webhook);
      if (!secret.ok) return undefined;
      held.key = createSecretKey(secret.value);
      secret.value.fill(0);
    }
    const body = JSON.stringify(event);
    const headers = signWebhook(held.key, event.event_id, clock.utcMs(), body);
    return postJson(new URL(held.webhook.url), { ...headers }, body, {
      ...{ rule, lookup: judgedLookup(rule, resolve) },
      timeoutMs: this.#times.timeoutMs,
      cancelled: AbortSignal.any([this.#cancelled.signal, held.cancelled.signal]),
    });
  }

  /** What the store does not take is sent again after a restart. */
  async #keep(held: Held): Promise<void> {
    if (held.removed) return;
    const kept = await this.#parts.store.come(held.webhook, held.state);
    if (kept.ok) held.keptNext = held.state.next;
  }
}

function statusWord(status: number): string {
  return status >= 200 && status < 300 ? 'ok' : `${Math.floor(status / 100)}xx`;
}

function nameOf({ tenant, id }: Pick<Webhook, 'tenant' | 'id'>): string {
  return `${tenant}/${id}`;
}

function viewOf({ webhook, state: { attempts, givenUp, disabled } }: Held): WebhookView {
  return { ...webhook, state: { attempts, givenUp, disabled } };
}
