import type { Result } from '../core/result.ts';
import type { PublishedEvent, PublishedType } from '../events/published-events.ts';

/** Where events of one place of one tenant are sent. */
export interface Webhook {
  /** UUID. */
  readonly id: string;
  readonly tenant: string;
  readonly environment: string;
  readonly plane: string;
  /** Absolute, as WHATWG URL writes it. May hold a secret of the receiver's. */
  readonly url: string;
  /** At least one, without repetition. */
  readonly types: readonly PublishedType[];
  /** UTC, milliseconds since 1970. */
  readonly createdAtMs: number;
}

/** How far deliveries of a webhook have come. */
export interface DeliveryState {
  /** The name of the log that the index is of. */
  readonly origin: string;
  /** Records of the log below this index are done with. */
  readonly next: number;
  /** Failed attempts at the event that comes next, and the moment of the next one. */
  readonly attempts: number;
  readonly notBeforeMs: number;
  /** Events that were given up. */
  readonly givenUp: number;
  /** The receiver has said that it is gone (HTTP 410): nothing is sent any more. */
  readonly disabled: boolean;
}

export interface WebhookView extends Webhook {
  readonly state: Pick<DeliveryState, 'attempts' | 'givenUp' | 'disabled'>;
}

export interface NewWebhook extends Omit<Webhook, 'id' | 'createdAtMs'> {}

export interface MadeWebhook extends Webhook {
  /** `whsec_` and 32 bytes in base64. Told once: nothing but the sealed key that it follows from is kept. */
  readonly secret: string;
}

/** The webhooks of all tenants. */
export interface Webhooks {
  /**
   * BadRequest: no URL that may be sent to. Conflict: the tenant has as many as it may have, or the service does. `before`: asked once
   * nothing else stands against it; a refusal of its is the answer.
   */
  add(webhook: NewWebhook, before: (made: Webhook) => Promise<Result<void>>): Promise<Result<MadeWebhook>>;
  list(tenant: string): readonly WebhookView[];
  find(tenant: string, id: string): WebhookView | undefined;
  /** NotFound: the tenant has none of this id. What is under way may still arrive. */
  remove(
    tenant: string,
    id: string,
    before: (webhook: Webhook) => Promise<Result<void>>,
  ): Promise<Result<Webhook>>;
}

/** True of events that a webhook is to get: of its place, and those that have none. */
export function isForWebhook(
  { environment, plane, types }: Webhook,
  event: Pick<PublishedEvent, 'environment' | 'plane' | 'event_type'>,
): boolean {
  return (
    types.includes(event.event_type) &&
    (event.environment === null || event.environment === environment) &&
    (event.plane === null || event.plane === plane)
  );
}
