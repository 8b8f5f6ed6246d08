import type { ListenerKind } from '../core/peer.ts';

/** The line of a request in the log; all of it was checked before, so that no line has what is no name, id or digest. */
export interface AccessFacts {
  readonly requestId?: string | undefined;
  readonly correlationId?: string | undefined;
  /** Of the server span, or as the caller sent them. */
  readonly traceId?: string | undefined;
  readonly spanId?: string | undefined;
  readonly operation?: string | undefined;
  readonly method?: string | undefined;
  /** The template of the path. */
  readonly route?: string | undefined;
  /** Undefined where the client had gone. */
  readonly status?: number | undefined;
  /** `ok`, or the kind of the refusal. Undefined in the line of a begin. */
  readonly result?: string | undefined;
  /** As in kms_reject_total. */
  readonly reason?: string | undefined;
  readonly tenant?: string | undefined;
  readonly actor?: string | undefined;
  /** With their versions, where they were used. */
  readonly kids?: readonly string[] | undefined;
  readonly alg?: string | undefined;
  /** Of a batch. */
  readonly items?: number | undefined;
  readonly opId?: string | undefined;
  readonly payloadB3?: string | undefined;
  readonly bodyBytes?: number | undefined;
  readonly listener?: ListenerKind | undefined;
  readonly peer?: string | undefined;
  readonly durationMs?: number | undefined;
  readonly queueMs?: number | undefined;
  readonly engineMs?: number | undefined;
  /** Refusals of this kind without a line since the last one. */
  readonly leftOut?: number | undefined;
}

/** The fields' names in the log. */
export const accessFields = {
  requestId: 'request_id',
  correlationId: 'corr_id',
  traceId: 'trace_id',
  spanId: 'span_id',
  operation: 'op',
  method: 'method',
  route: 'route',
  status: 'status',
  result: 'result',
  reason: 'reason',
  tenant: 'tenant',
  actor: 'actor',
  kids: 'kid',
  alg: 'alg',
  items: 'items',
  opId: 'op_id',
  payloadB3: 'payload_b3',
  bodyBytes: 'body_bytes',
  listener: 'listener',
  peer: 'peer',
  durationMs: 'duration_ms',
  queueMs: 'queue_ms',
  engineMs: 'engine_ms',
  leftOut: 'left_out',
} as const satisfies Readonly<Record<keyof AccessFacts, string>>;

/** In the order of the table, without what is not known. Milliseconds have three digits, as exact as it is measured. */
export function accessLine(facts: AccessFacts): Record<string, unknown> {
  const line: Record<string, unknown> = {};
  for (const [fact, field] of Object.entries(accessFields)) {
    const value = facts[fact as keyof AccessFacts];
    if (value === undefined) continue;
    if (Array.isArray(value)) line[field] = value.length > 1 ? value : value[0];
    else line[field] = field.endsWith('_ms') ? Math.round((value as number) * 1_000) / 1_000 : value;
  }
  return line;
}
