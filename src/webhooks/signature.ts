import { createHmac, type KeyObject } from 'node:crypto';

/** The headers by which a receiver knows a message: Standard Webhooks, as npm `standardwebhooks` checks them. */
export interface SignedHeaders {
  /** The same each time that the event is sent. */
  readonly 'webhook-id': string;
  /** Seconds since 1970; of this attempt. */
  readonly 'webhook-timestamp': string;
  /** `v1,` and the HMAC-SHA-256 of id, timestamp and body with dots between them, in base64. */
  readonly 'webhook-signature': string;
}

export function signWebhook(key: KeyObject, id: string, atMs: number, body: string): SignedHeaders {
  const timestamp = String(Math.floor(atMs / 1_000));
  const mac = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${mac}` };
}

export function secretText(secret: Uint8Array): string {
  return `whsec_${Buffer.from(secret).toString('base64')}`;
}
