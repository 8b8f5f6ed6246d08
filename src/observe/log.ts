import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import type { RequestNames } from './tracing.ts';

export type { Logger } from 'pino';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

// Names under which a secret could reach the log by mistake, at the top and one level down. Redaction is the second
// line of defence; the first is that nothing logs requests, headers or keys at all.
const secretNames = [
  'token',
  'authorization',
  'password',
  'passphrase',
  'secret',
  'rootKey',
  'privateKey',
  'plaintext',
  'plaintext_b64',
  'keyReference',
  'sealed',
  'macaroon',
];

/**
 * JSON lines on standard output for the operator: `level`, `time` (RFC 3339), `service`, `msg` and the fields given.
 * Causes and details of failures belong here and never in an answer. An error is logged as `{ err }`.
 */
export function createLog(level: LogLevel, service: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: { service },
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: secretNames.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}

/** Requests that one line names, of a job that may have had 64. */
const maxRequests = 16;

/** The fields of a line about a request, or about several that shared their fate. */
export function requestFields(requests: readonly RequestNames[]): Readonly<Record<string, unknown>> {
  const named = requests.slice(0, maxRequests).map(({ requestId, correlationId, traceparent }) => ({
    request_id: requestId,
    corr_id: correlationId,
    traceparent,
  }));
  if (requests.length === 1) return named[0] as (typeof named)[0];
  return named.length === 0 ? {} : { requests: named, request_count: requests.length };
}
