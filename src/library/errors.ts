import { type Failure, type FailureCode, failures, retryAfterMsOf } from '../core/failure.ts';

/**
 * Kinds of errors, for whoever decides by few: `UnknownKey` there is no such key for this tenant; `Unsupported` no key, engine or
 * backend does this; `Crypto` what was given does not open or fit; `Policy` it is forbidden, or more than is permitted; `Invalid` the
 * call itself is wrong; `Unavailable` not now.
 */
export type KmsErrorKind = 'UnknownKey' | 'Unsupported' | 'Crypto' | 'Policy' | 'Invalid' | 'Unavailable';

const kinds: Readonly<Record<FailureCode, KmsErrorKind>> = {
  BadRequest: 'Invalid',
  Unsupported: 'Unsupported',
  ClockSkew: 'Policy',
  Unauthenticated: 'Policy',
  NoCapability: 'Policy',
  PolicyViolation: 'Policy',
  ExportForbidden: 'Policy',
  AttestationMissing: 'Policy',
  NotFound: 'UnknownKey',
  MethodNotAllowed: 'Unsupported',
  SlowBody: 'Unavailable',
  Conflict: 'Invalid',
  LengthRequired: 'Invalid',
  TooLarge: 'Invalid',
  UnsupportedEncoding: 'Unsupported',
  HeadersTooLarge: 'Invalid',
  Backpressure: 'Unavailable',
  RateLimited: 'Policy',
  AddressLimited: 'Unavailable',
  Internal: 'Crypto',
  StoreUnavailable: 'Unavailable',
  AuditUnavailable: 'Unavailable',
  NotReady: 'Unavailable',
  Timeout: 'Unavailable',
};

/** A call that was refused. Its texts hold no input and no secret. */
export class KmsError extends Error {
  override readonly name = 'KmsError';
  readonly kind: KmsErrorKind;
  /** One of a closed list, as the HTTP surface has it. */
  readonly code: FailureCode;
  /** What to do next, where that is known. */
  readonly hint: string | undefined;
  /** The same call may succeed later. */
  readonly retryable: boolean;
  /** When that is worth while, in milliseconds from now. */
  readonly retryAfterMs: number | undefined;

  /** `opens`: the call opens something, so that what it was given wrongly is a matter of cryptography. */
  constructor(failure: Failure, opens = false) {
    const { code, hint } = failure;
    const { message, retryable } = failures[code];
    super(hint === undefined ? message : `${message}: ${hint}`);
    this.code = code;
    this.kind = opens && code === 'BadRequest' ? 'Crypto' : kinds[code];
    this.hint = hint;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMsOf(failure);
  }
}

/** A Kms could not be opened: its options, its directory or what lies there. One line for each problem, none with a value. */
export class KmsOpenError extends Error {
  override readonly name = 'KmsOpenError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[], cause?: unknown) {
    super(problems.join('\n'), cause === undefined ? undefined : { cause });
    this.problems = problems;
  }
}
