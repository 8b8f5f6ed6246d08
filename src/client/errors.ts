/** The codes of a service's refusals: a closed table, of which a code that was retired is never used again. */
export const kmsErrorCodes = [
  'BadRequest',
  'Unsupported',
  'ClockSkew',
  'NoCapability',
  'PolicyViolation',
  'ExportForbidden',
  'AttestationMissing',
  'NotFound',
  'Conflict',
  'TooLarge',
  'Backpressure',
  'RateLimited',
  'Internal',
  'StoreUnavailable',
  'AuditUnavailable',
  'NotReady',
  'Timeout',
] as const;

export type KmsErrorCode = (typeof kmsErrorCodes)[number];

export interface KmsErrorFacts {
  readonly code: KmsErrorCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly hint?: string | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly requestId?: string | undefined;
}

/** A refusal of the service. */
export class KmsError extends Error {
  override readonly name = 'KmsError';
  readonly code: KmsErrorCode;
  /** Of HTTP; undefined for one item of a batch. */
  readonly status: number | undefined;
  /** The same call may succeed later. */
  readonly retryable: boolean;
  /** The next step of the caller. */
  readonly hint: string | undefined;
  readonly retryAfterMs: number | undefined;
  /** For the operator, who finds it in the service's log. */
  readonly requestId: string | undefined;

  constructor({ code, message, retryable, hint, retryAfterMs, requestId }: KmsErrorFacts, status?: number) {
    super(hint === undefined ? `${code}: ${message}` : `${code}: ${message} (${hint})`);
    this.code = code;
    this.status = status;
    this.retryable = retryable;
    this.hint = hint;
    this.retryAfterMs = retryAfterMs;
    this.requestId = requestId;
  }
}

/** No answer came: the connection failed, or the deadline passed first. What was asked for may have been done. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
  /** As the system has it, ECONNREFUSED for one; DEADLINE where the caller's own time passed. */
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

interface Envelope {
  readonly code?: string;
  readonly message?: string;
  readonly retryable?: boolean;
  readonly hint?: string;
  readonly retry_after_ms?: number;
  readonly request_id?: string;
}

/** Longest wait that an answer may ask for; what is more is the caller's to decide. */
const maxRetryAfterMs = 3_600_000;

/** Of an answer that is not 2xx, or of one item of a batch, whose status is undefined. Any proxy may have made it. */
export function errorOf(
  body: unknown,
  status?: number,
  retryAfterHeader?: string | string[] | undefined,
): KmsError {
  const told = ((body as { error?: Envelope } | null)?.error ?? {}) as Envelope;
  const code = kmsErrorCodes.find((one) => one === told.code);
  const retryAfterMs = told.retry_after_ms ?? secondsOf(retryAfterHeader);
  if (code === undefined) {
    const retryable = status === 429 || status === 502 || status === 503 || status === 504;
    const message = `an answer with status ${status} that is none of the service`;
    return new KmsError(
      { code: retryable ? 'NotReady' : 'Internal', message, retryable, retryAfterMs },
      status,
    );
  }
  const { message = '', retryable = false, hint, request_id: requestId } = told;
  return new KmsError({ code, message, retryable, hint, retryAfterMs, requestId }, status);
}

/** Retry-After in seconds (RFC 9110 section 10.2.3); the form with a date is no answer of the service. */
function secondsOf(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string' || !/^[0-9]{1,9}$/.test(header)) return undefined;
  return Math.min(Number(header) * 1000, maxRetryAfterMs);
}
