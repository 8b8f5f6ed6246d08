import type { Result } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';

/** The other end of a connection, as far as the listener knows it. */
export interface Peer {
  /** IPv4 or IPv6, without port and zone; undefined where there is none. */
  readonly address?: string | undefined;
  readonly certificate?: PeerCertificate | undefined;
  /** Of the process at the other end of a Unix socket. */
  readonly uid?: number | undefined;
}

/** The facts of a client certificate that the listener has verified. */
export interface PeerCertificate {
  /** The URI name with the scheme spiffe, where there is exactly one. */
  readonly spiffe: string | undefined;
  readonly dns: readonly string[];
  readonly subject: string;
  /** SHA-256 of the DER, 64 lowercase hex digits (RFC 8705). */
  readonly sha256: string;
}

/** The facts of one request that a capability's conditions may depend on. An absent fact refuses who asks for it. */
export interface RequestFacts {
  /** UTC, milliseconds since 1970. */
  readonly utcMs: number;
  /**
   * Asked before a token that is in no cache is verified; false refuses it unverified with AddressLimited, as in a
   * flood of bad ones. Absent: always.
   */
  readonly mayVerify?: () => boolean;
  /** Asked only by capabilities that are bound to a connection. */
  readonly peer?: () => Peer;
  readonly bodyBytes?: number;
  /** X-KMS-Discharge as it came. */
  readonly discharges?: string | undefined;
}

/**
 * Says who is calling. On the hot path: synchronous, never throws, and about a microsecond for a token seen before.
 * Refuses with Unauthenticated; with RateLimited or TooLarge where the capability itself sets the limit. Conditions that
 * depend on time or on the request are evaluated at every call.
 */
export interface Authenticator {
  authenticate(token: string, request: RequestFacts): Result<Caller>;
}

/** The token of an `Authorization: Bearer <token>` header (RFC 6750 section 2.1), or undefined. */
export function bearerToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization.length < 8) return undefined;
  if (authorization.slice(0, 7).toLowerCase() !== 'bearer ') return undefined;
  return authorization.slice(7);
}
