import { randomFillSync, randomUUID } from 'node:crypto';
import { type Failure, retryAfterMsOf } from '../core/failure.ts';
import type { RequestNames } from '../observe/tracing.ts';
import type { CacheTerms, Dialect, Presented } from './dialect.ts';
import type { RequestHeaders, Response, TraceIds } from './exchange.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** W3C Trace Context version 00; passed on as it came. */
const traceparentForm = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** A correlation id is the caller's text and goes into a header: visible ASCII of a bounded length, or it is dropped. */
const correlationForm = /^[\x21-\x7e]{1,128}$/;

export function isCorrelationId(text: string | undefined): text is string {
  return text !== undefined && correlationForm.test(text);
}

/** An answer as its dialect presents it. */
export function respondAnswer(answer: Presented, headers: RequestHeaders): Response {
  if ('raw' in answer) {
    const { status, raw, cache } = answer;
    const response = respondPlain(status, raw.contentType, raw.bytes, headers);
    return cache === undefined ? response : cached(response, cache, headers);
  }
  if ('stream' in answer) {
    const { status, contentType, stream } = answer;
    const response = respondPlain(status, contentType, '', headers);
    return { ...response, headers: [...response.headers, notStored], stream };
  }
  const own = responseHeaders(headers, requestIdOf(headers));
  return {
    status: answer.status,
    headers: answer.headers === undefined ? own : [...own, ...answer.headers],
    body: JSON.stringify(answer.body),
  };
}

/** RFC 9110 section 13.1.2: 304 where the client has this very answer. Listeners leave out its body. */
function cached(
  response: Response,
  { etag, control }: CacheTerms,
  { ifNoneMatch }: RequestHeaders,
): Response {
  const known = ifNoneMatch?.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  const same = known !== undefined && (known.includes(etag) || known.includes('*'));
  const headers = [...response.headers, ['etag', etag] as const, ['cache-control', control] as const];
  return { ...response, headers, status: same ? 304 : response.status };
}

/** A failure in the words of `dialect`. `hint`: what the route says where the failure says nothing. */
export function respondFailure(
  dialect: Dialect,
  failure: Failure,
  headers: RequestHeaders,
  close: boolean,
  hint?: string,
): Response {
  const requestId = requestIdOf(headers);
  const { status, body, challenge } = dialect.presentFailure(failure, { hint, requestId, ts: nowText() });
  return {
    status,
    headers: [
      ...responseHeaders(headers, requestId),
      ...failureHeaders(challenge, failure.allow, retryAfterMsOf(failure)),
    ],
    body: JSON.stringify(body),
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

/** The names under which a request is answered, with an id that is made where the caller gave none. */
export function requestNamesOf(headers: RequestHeaders): RequestNames {
  const { correlationId } = headers;
  return {
    requestId: requestIdOf(headers),
    correlationId: isCorrelationId(correlationId) ? correlationId : undefined,
    traceparent: traceparentOf(headers),
  };
}

/** As the caller sent it; undefined where it has not the form. */
export function traceparentOf({ traceparent }: RequestHeaders): string | undefined {
  return traceparent !== undefined && traceparentForm.test(traceparent) ? traceparent : undefined;
}

/**
 * The ids under which a request is known. `own`: the traceparent of the span that the service records, whose ids they are. Without
 * one the trace is the caller's, or a new one, and the span's id is new.
 */
export function traceIdsOf(headers: RequestHeaders, own: string | undefined): TraceIds {
  const [, ownTrace, ownSpan] = own?.split('-') ?? [];
  if (ownTrace !== undefined && ownSpan !== undefined) return { traceId: ownTrace, spanId: ownSpan };
  const [, traceId = randomHex(16)] = traceparentOf(headers)?.split('-') ?? [];
  return { traceId, spanId: randomHex(8) };
}

/** Filled at once for 170 requests: a call for random bytes costs a microsecond. */
const pool = Buffer.alloc(4_096);
let used = pool.length;

/** Ids that are all zero are not valid; of 8 bytes nobody will see that. */
function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString('hex', used - bytes, used);
}

function responseHeaders(
  { correlationId, traceparent }: RequestHeaders,
  requestId: string,
): (readonly [string, string])[] {
  const headers: (readonly [string, string])[] = [jsonType, ['x-request-id', requestId]];
  if (isCorrelationId(correlationId)) headers.push(['x-corr-id', correlationId]);
  if (traceparent !== undefined && traceparentForm.test(traceparent))
    headers.push(['traceparent', traceparent]);
  return headers;
}

/** A proxy that keeps what it is sent would hand on nothing. */
const notStored = ['cache-control', 'no-store'] as const;

const jsonType = ['content-type', 'application/json'] as const;

function failureHeaders(
  challenge: string | undefined,
  allow: string | undefined,
  retryAfterMs: number | undefined,
): (readonly [string, string])[] {
  const headers: (readonly [string, string])[] = [];
  if (challenge !== undefined) headers.push(['www-authenticate', challenge]);
  if (allow !== undefined) headers.push(['allow', allow]);
  if (retryAfterMs !== undefined)
    headers.push(['retry-after', String(Math.max(1, Math.ceil(retryAfterMs / 1000)))]);
  return headers;
}
