import { randomFillSync } from 'node:crypto';
import type { RequestHeaders } from './exchange.ts';
import { traceparentOf } from './respond.ts';

/** Ids of W3C Trace Context, in hex: 32 and 16 characters. */
export interface TraceIds {
  readonly traceId: string;
  readonly spanId: string;
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
