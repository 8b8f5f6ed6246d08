import { Counter } from 'prom-client';
import type { Metrics } from '../metrics.ts';

export interface WebhookMetrics {
  /** An attempt ended so: ok, 4xx, 5xx, …, or a word of the network. */
  attempted(result: string): void;
  gaveUp(reason: string): void;
}

export function createWebhookMetrics({ registry }: Pick<Metrics, 'registry'>): WebhookMetrics {
  const registers = [registry];
  const attempts = new Counter({
    name: 'kms_webhook_attempts_total',
    help: 'Attempts to send an event to a webhook, by result: ok, a class of HTTP status, not_public, timeout or failed',
    labelNames: ['result'],
    registers,
  });
  const givenUp = new Counter({
    name: 'kms_webhook_given_up_total',
    help: 'Events that were given up after all attempts, and webhooks that were disabled because their receiver is gone',
    labelNames: ['reason'],
    registers,
  });
  const known = /^(?:ok|[1-5]xx|not_public|timeout)$/;
  return {
    attempted: (result) => attempts.inc({ result: known.test(result) ? result : 'failed' }),
    gaveUp: (reason) => givenUp.inc({ reason }),
  };
}
