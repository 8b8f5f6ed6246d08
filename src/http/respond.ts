import { randomUUID } from 'node:crypto';
import { failures, publicFailure } from '../core/failure.ts';
import type { Result } from '../core/result.ts';
import type { Answer } from '../operations/operation.ts';
import type { RequestHeaders, Response } from './exchange.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** W3C Trace Context version 00; passed on as it came. */
const traceparentForm = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** A correlation id is the caller's text and goes into a header: visible ASCII of a bounded length, or it is dropped. */
const correlationForm = /^[\x21-\x7e]{1,128}$/;

/** The one place where a failure becomes a status, and an answer JSON. */
export function respond(result: Result<Answer>, headers: RequestHeaders, close = false): Response {
  const requestId = requestIdOf(headers);
  if (result.ok) {
    const answer = result.value;
    if ('raw' in answer) {
      return respondPlain(answer.status, answer.raw.contentType, answer.raw.bytes, headers);
    }
    return {
      status: answer.status,
      headers: responseHeaders(headers, requestId),
      body: JSON.stringify(answer.body),
    };
  }
  const { status } = failures[result.failure.code];
  const failure = publicFailure(result.failure);
  return {
    status,
    headers: [
      ...responseHeaders(headers, requestId),
      ...failureHeaders(status, failure.retry_after_ms, result.failure.allow),
    ],
    body: JSON.stringify({
      error: { ...failure, ts: nowText(), request_id: requestId },
    }),
    close,
  };
}

/** An answer of the service itself: health, metrics, version. */
export function respondPlain(
  status: number,
  contentType: string,
  body: string | Uint8Array,
  headers: RequestHeaders,
): Response {
  const [, ...others] = responseHeaders(headers, requestIdOf(headers));
  return { status, headers: [['content-type', contentType], ...others], body };
}

let lastMs = 0;
let lastText = '';

/** RFC 3339. Formatting takes half a microsecond, and a flood is refused forty times a millisecond. */
function nowText(): string {
  const nowMs = Date.now();
  if (nowMs !== lastMs) {
    lastMs = nowMs;
    lastText = new Date(nowMs).toISOString();
  }
  return lastText;
}

function requestIdOf({ requestId }: RequestHeaders): string {
  return requestId !== undefined && uuid.test(requestId) ? requestId : randomUUID();
}

function responseHeaders(
  { correlationId, traceparent }: RequestHeaders,
  requestId: string,
): (readonly [string, string])[] {
  const headers: (readonly [string, string])[] = [jsonType, ['x-request-id', requestId]];
  if (correlationId !== undefined && correlationForm.test(correlationId))
    headers.push(['x-corr-id', correlationId]);
  if (traceparent !== undefined && traceparentForm.test(traceparent))
    headers.push(['traceparent', traceparent]);
  return headers;
}

const jsonType = ['content-type', 'application/json'] as const;

function failureHeaders(
  status: number,
  retryAfterMs: number | undefined,
  allow: string | undefined,
): (readonly [string, string])[] {
  const headers: (readonly [string, string])[] = [];
  if (status === 401) headers.push(['www-authenticate', 'Bearer realm="intaglio"']);
  if (allow !== undefined) headers.push(['allow', allow]);
  if (retryAfterMs !== undefined)
    headers.push(['retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1000)))]);
  return headers;
}
