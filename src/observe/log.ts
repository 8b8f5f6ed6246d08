import { createHmac, randomBytes } from 'node:crypto';
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

/** What the log leaves out beyond secrets: KMS_REDACT_LEVEL. */
export type RedactLevel = 'hashes' | 'lengths' | 'names';

/** Fields at the top that hold a payload's digest, and that name somebody or something. */
const digestFields: ReadonlySet<string> = new Set(['payload_b3', 'payload_sha256', 'input_digest']);
const nameFields: ReadonlySet<string> = new Set(
  'tenant actor approvers key keys kid kids issuer subject peer address client'.split(' '),
);

/** The level of each log. */
const redactLevels = new WeakMap<Logger, { level: RedactLevel }>();

/** Sets both levels of a log, also while it is in use. */
export function setLogging(
  log: Logger,
  { logLevel, redactLevel }: { readonly logLevel: LogLevel; readonly redactLevel: RedactLevel },
): void {
  log.level = logLevel;
  const redact = redactLevels.get(log);
  if (redact !== undefined) redact.level = redactLevel;
}

/** Of this process alone: names are few, and a plain hash of one could be looked up. */
const nameKey = randomBytes(32);

function pseudonym(value: unknown): string {
  const text = JSON.stringify(value) ?? '';
  return `#${createHmac('sha256', nameKey).update(text).digest('hex').slice(0, 16)}`;
}

function redacted(fields: Record<string, unknown>, level: RedactLevel): Record<string, unknown> {
  if (level === 'hashes') return fields;
  const kept = Object.entries(fields).filter(([name]) => !digestFields.has(name));
  const hidden = kept.map(([name, value]) =>
    level === 'names' && nameFields.has(name) ? [name, pseudonym(value)] : [name, value],
  );
  return Object.fromEntries(hidden);
}

/**
 * JSON lines on standard output for the operator: `level`, `time` (RFC 3339), `service`, `msg` and the fields given.
 * Causes and details of failures belong here and never in an answer. An error is logged as `{ err }`.
 */
export function createLog(level: LogLevel, service: string, destination?: DestinationStream): Logger {
  const redact: { level: RedactLevel } = { level: 'hashes' };
  const options = {
    level,
    base: { service },
    timestamp: stdTimeFunctions.isoTime,
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (fields: Record<string, unknown>) => redacted(fields, redact.level),
    },
    redact: { paths: secretNames.flatMap((name) => [name, `*.${name}`]), censor: '[redacted]' },
  };
  const log = destination === undefined ? pino(options) : pino(options, destination);
  redactLevels.set(log, redact);
  return log;
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
