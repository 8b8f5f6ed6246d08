import type { AnswerFacts, OwnRequest, Presented } from '../../dialect.ts';
import { methodsOf } from './routes.ts';

type Headers = readonly (readonly [name: string, value: string])[];

/** Read by scripts of other origins (Fetch standard, section 3.3.3). */
const exposed = 'X-Trace-Id, X-Span-Id, X-Request-Id, X-Receipt-Id, Retry-After';
const allowedHeaders =
  'Authorization, Content-Type, Last-Event-ID, X-Approval-Token, X-Client-Certificate, X-Deadline-Ms, X-Request-Id, X-Corr-Id, traceparent';
/** A browser asks again after so long: the most that Chromium keeps. */
const preflightSeconds = '7200';

/** Headers of every answer: ids of its trace, and the permission for the page that asked, if it has one. */
export function headersOf({ headers, trace }: AnswerFacts, origins: readonly string[]): Headers {
  const own: [string, string][] = [
    ['x-trace-id', trace.traceId],
    ['x-span-id', trace.spanId],
  ];
  if (origins.length === 0) return own;
  // A cache must not give the answer for one page to another.
  own.push(['vary', 'Origin']);
  const permitted = permittedOrigin(headers.origin, origins);
  if (permitted === undefined) return own;
  own.push(['access-control-allow-origin', permitted], ['access-control-expose-headers', exposed]);
  return own;
}

function permittedOrigin(origin: string | undefined, origins: readonly string[]): string | undefined {
  if (origin === undefined) return undefined;
  if (origins.includes('*')) return '*';
  return origins.includes(origin) ? origin : undefined;
}

/** The answer to a preflight (Fetch standard, section 4.8); undefined where the page has no permission or there is no such path. */
export function preflight(
  { method, path, headers }: OwnRequest,
  origins: readonly string[],
): Presented | undefined {
  if (method !== 'options' || permittedOrigin(headers.origin, origins) === undefined) return undefined;
  const methods = methodsOf(path);
  if (methods === undefined) return undefined;
  return {
    status: 200,
    body: {},
    headers: [
      ['access-control-allow-methods', methods],
      ['access-control-allow-headers', allowedHeaders],
      ['access-control-max-age', preflightSeconds],
    ],
  };
}
