import { hash, timingSafeEqual } from 'node:crypto';
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { MacKey } from '../../core/mac-key.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { Authenticator, Credentials, RequestFacts } from '../auth.ts';
import { type Grant, grantOf } from './caveats.ts';
import { decodeToken, encodeBinary, maxTokenCharacters } from './encoding.ts';
import { type MacaroonRootKey, macaroonKeyOf, signatureOf } from './key.ts';

export interface MacaroonOptions {
  readonly rootKey: MacaroonRootKey;
  readonly timeSkewToleranceMs: number;
  /** Verified capabilities kept at most. 32,768 are several for each service of a company; at 600 bytes each, 20 MB. */
  readonly maxVerified?: number;
  /** Refused tokens kept at most, apart from the verified ones so that a flood of bad tokens evicts no good one. */
  readonly maxRefused?: number;
}

interface Verified {
  readonly answer: Result<Caller>;
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
}

const invalid = refuse('Unauthenticated', 'send Authorization: Bearer with a capability of this service');
const tooMany = refuse('AddressLimited', 'use a capability that was accepted before, or wait', 1_000);
const expired = refuse('Unauthenticated', 'the capability has expired; ask for a new one');
const notYetValid = refuse('Unauthenticated', 'the capability is not valid yet');

/**
 * Macaroons (Birgisson et al., NDSS 2014): HMAC-SHA-256 chains under one root key.
 *
 * Both caches are keyed by the SHA-256 of the token, a quarter of a microsecond: they hold no live token, and the
 * comparison inside Map is of digests that a caller cannot steer, so its timing says nothing. The text of a request's
 * token is in the heap all the same, until V8 collects it and something else is written there.
 */
export function createMacaroonAuthenticator(options: MacaroonOptions): Authenticator {
  const { timeSkewToleranceMs } = options;
  const key = macaroonKeyOf(options.rootKey);
  const verified = new BoundedCache<string, Verified>(options.maxVerified ?? 32_768);
  const refused = new BoundedCache<string, true>(options.maxRefused ?? 8_192);

  const verify = (token: string, name: string): Verified | undefined => {
    const grant = verifyToken(key, token);
    if (grant === undefined) {
      refused.set(name, true);
      return undefined;
    }
    const { tenant, scopes, actor, notBeforeMs, expiresAtMs } = grant;
    const entry = { answer: ok(Object.freeze({ tenant, scopes, actor })), notBeforeMs, expiresAtMs };
    verified.set(name, entry);
    return entry;
  };

  return {
    authenticate({ token }: Credentials, request: RequestFacts): Result<Caller> {
      if (token === undefined) return refuse('Unauthenticated');
      if (token.length > maxTokenCharacters) return invalid;
      const name = hash('sha256', token, 'base64');
      let entry = verified.get(name);
      if (entry === undefined) {
        // A verified name is never in the other cache, so the good tokens do not pay for this look-up.
        if (refused.get(name) !== undefined) return invalid;
        if (request.mayVerify?.() === false) return tooMany;
        entry = verify(token, name);
        if (entry === undefined) return invalid;
      }
      // Written so that a time that is not a number refuses.
      if (!(request.utcMs < entry.expiresAtMs + timeSkewToleranceMs)) return expired;
      if (!(request.utcMs >= entry.notBeforeMs - timeSkewToleranceMs)) return notYetValid;
      return entry.answer;
    },
  };
}

/**
 * Builds the macaroon again under our key and compares all of its bytes, in constant time. Against the library's own
 * `verify` this covers what no signature covers (encoding, locations), and a mismatch is a value, not a throw.
 */
function verifyToken(key: MacKey, token: string): (Grant & { actor: string }) | undefined {
  const presented = decodeToken(token);
  if (presented === undefined) return undefined;
  const grant = grantOf(presented.caveats);
  if (grant === undefined) return undefined;
  const { identifier, caveats, binary } = presented;
  const expected = encodeBinary(identifier, caveats, signatureOf(key, identifier, caveats));
  if (expected.length !== binary.length || !timingSafeEqual(expected, binary)) return undefined;
  return { ...grant, actor: actorOf(identifier) };
}

/** The pseudonym of a capability and of everything attenuated from it: `cap:` and 16 hexadecimal digits. */
export function actorOf(identifier: Uint8Array): string {
  return `cap:${hash('sha256', identifier).slice(0, 16)}`;
}
