import type { Peer } from '../core/peer.ts';
import type { Result } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';

/** All that a request shows of who is calling, not looked at yet. */
export interface Credentials {
  /** Of `Authorization: Bearer`, whether capability or JSON Web Token; undefined where there is none. */
  readonly token: string | undefined;
  /** Further tokens that go with it: the header X-KMS-Discharge as it came. */
  readonly discharges?: string | undefined;
  /** Somebody asks for another one, so that a certificate or a user of the connection is not that of whom it is for. */
  readonly forwarded?: boolean;
  /** Of a surface that holds callers to the placements of keys. Absent: the surface knows none. */
  readonly placed?: PlacedCredentials;
  /** Costs a copy of the address: asked only by capabilities that are bound to a connection. */
  peer(): Peer;
}

export interface PlacedCredentials {
  /** X-Client-Certificate as it came: anybody can send one, so it counts in development alone. */
  readonly claimedCertificate: string | undefined;
}

/** Further facts of one request that a capability's conditions may depend on. An absent fact refuses who asks for it. */
export interface RequestFacts {
  /** UTC, milliseconds since 1970. */
  readonly utcMs: number;
  /**
   * Asked before a token that is in no cache is verified; false refuses it unverified with AddressLimited, as in a
   * flood of bad ones. Absent: always.
   */
  readonly mayVerify?: () => boolean;
  readonly bodyBytes?: number;
}

/**
 * Says who is calling. On the hot path: synchronous, never throws, and about a microsecond for a token seen before.
 * Refuses with Unauthenticated; with RateLimited or TooLarge where the capability itself sets the limit. Conditions that
 * depend on time or on the request are evaluated at every call.
 */
export interface Authenticator {
  authenticate(credentials: Credentials, request: RequestFacts): Result<Caller>;

  /**
   * The answer for credentials that cannot be judged in this turn of the event loop, such as a JSON Web Token that was never
   * seen. Undefined, as mostly: `authenticate` has the answer at once. Never rejects.
   */
  authenticateLater?(credentials: Credentials, request: RequestFacts): Promise<Result<Caller>> | undefined;
}

/** The token of an `Authorization: Bearer <token>` header (RFC 6750 section 2.1), or undefined. */
export function bearerToken(authorization: string | undefined): string | undefined {
  if (authorization === undefined || authorization.length < 8) return undefined;
  if (authorization.slice(0, 7).toLowerCase() !== 'bearer ') return undefined;
  return authorization.slice(7);
}
