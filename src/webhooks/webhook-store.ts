import { ok, type Result, refuse } from '../core/result.ts';
import { type PublishedType, publishedTypes } from '../events/published-events.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../keys/authenticity.ts';
import type { Change, Store } from '../store/store.ts';
import type { DeliveryState, Webhook } from './webhook.ts';

const hookPrefix = 'webhook/';
const statePrefix = 'webhook-state/';
const pageEntries = 500;

export interface StoredWebhook {
  readonly webhook: Webhook;
  readonly state: DeliveryState;
}

/** Webhooks and how far they have come, in the store: authentic, or refused. */
export class WebhookStore {
  readonly #store: Store;
  readonly #mac: RecordMac;
  readonly #onCorrupt: (storeKey: string) => void;

  constructor(store: Store, mac: RecordMac, onCorrupt: (storeKey: string) => void) {
    this.#store = store;
    this.#mac = mac;
    this.#onCorrupt = onCorrupt;
  }

  /** Those that can be read. One without a state has its `first` one. */
  async all(first: DeliveryState): Promise<Result<readonly StoredWebhook[]>> {
    const hooks = await this.#read(hookPrefix, webhookIn);
    if (!hooks.ok) return hooks;
    const states = await this.#read(statePrefix, stateIn);
    if (!states.ok) return states;
    return ok(
      [...hooks.value].map(([name, webhook]) => ({ webhook, state: states.value.get(name) ?? first })),
    );
  }

  /** Both, or neither. */
  add(webhook: Webhook, state: DeliveryState): Promise<Result<void>> {
    return this.#commit([
      this.#change(hookPrefix, webhook, JSON.stringify({ v: 1, ...webhook }), 0),
      this.#change(statePrefix, webhook, JSON.stringify({ v: 1, ...state })),
    ]);
  }

  come(webhook: Webhook, state: DeliveryState): Promise<Result<void>> {
    return this.#commit([this.#change(statePrefix, webhook, JSON.stringify({ v: 1, ...state }))]);
  }

  remove({ tenant, id }: Webhook): Promise<Result<void>> {
    const name = `${tenant}/${id}`;
    return this.#commit([
      { key: `${hookPrefix}${name}`, value: undefined },
      { key: `${statePrefix}${name}`, value: undefined },
    ]);
  }

  #change(prefix: string, { tenant, id }: Webhook, text: string, expectedRevision?: number): Change {
    const key = `${prefix}${tenant}/${id}`;
    const value = authenticated(key, text, this.#mac);
    return expectedRevision === undefined ? { key, value } : { key, value, expectedRevision };
  }

  async #commit(changes: readonly Change[]): Promise<Result<void>> {
    const outcome = await this.#store.commit(changes);
    if (!outcome.ok) return outcome;
    return outcome.value.committed ? ok(undefined) : refuse('Conflict');
  }

  async #read<T>(prefix: string, of: (value: unknown) => T | undefined): Promise<Result<Map<string, T>>> {
    const found = new Map<string, T>();
    for (let after: string | undefined; ; ) {
      const range = { prefix, limit: pageEntries, ...(after === undefined ? {} : { after }) };
      const page = await this.#store.list(range);
      if (!page.ok) return page;
      for (const { key, value } of page.value) {
        const opened = openAuthenticated(key, value, this.#mac);
        const read = opened && of(JSON.parse(Buffer.from(opened.text).toString()));
        if (read === undefined) this.#onCorrupt(key);
        else found.set(key.slice(prefix.length), read);
      }
      after = page.value.at(-1)?.key;
      if (page.value.length < pageEntries) return ok(found);
    }
  }
}

const known: ReadonlySet<string> = new Set(publishedTypes);

/** What is authentic was written here; only another version of this program can have written another shape. */
function webhookIn(value: unknown): Webhook | undefined {
  const { v, ...webhook } = value as { readonly v: unknown } & Webhook;
  if (v !== 1) return undefined;
  return { ...webhook, types: webhook.types.filter((type: PublishedType) => known.has(type)) };
}

function stateIn(value: unknown): DeliveryState | undefined {
  const { v, ...state } = value as { readonly v: unknown } & DeliveryState;
  return v === 1 ? state : undefined;
}
