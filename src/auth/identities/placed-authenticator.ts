import { hash } from 'node:crypto';
import type { CertificateMapping } from '../../config/identity/kinds.ts';
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { PeerCertificate } from '../../core/peer.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { type Caller, type Scope, scopes } from '../../core/scope.ts';
import type { Authenticator, Credentials, RequestFacts } from '../auth.ts';
import type { TokenClaims, TokenVerifier } from './jwt.ts';
import { agreed, identityClaimed, identityIn, type PlacedIdentity, pseudonymOf } from './placed-identity.ts';

export interface PlacedAuthenticatorParts {
  /** For capabilities, and for surfaces that know no placements. */
  readonly capabilities: Authenticator;
  readonly mappings: readonly CertificateMapping[];
  /** Absent: JSON Web Tokens are refused. */
  readonly tokens: TokenVerifier | undefined;
  readonly timeSkewToleranceMs: number;
  /** True: a header that claims a certificate is believed. */
  readonly development: boolean;
}

export interface PlacedAuthenticator extends Authenticator {
  /** Tokens are verified anew by this one. */
  useTokens(tokens: TokenVerifier | undefined): void;
}

/** 400 bytes each, so some 3 MB. */
const maxVerified = 8_192;

const nobody = refuse(
  'Unauthenticated',
  'show a client certificate that names tenant, environment, plane and module, a JSON Web Token, or a capability',
);
const invalid = refuse('Unauthenticated', 'the JSON Web Token does not hold');
const expired = refuse('Unauthenticated', 'the JSON Web Token has expired; ask for a new one');
const notYetValid = refuse('Unauthenticated', 'the JSON Web Token is not valid yet');
const incomplete = refuse(
  'Unauthenticated',
  'the JSON Web Token, with the certificate, does not say tenant_id, environment, plane and module',
);
const disagree = refuse('Unauthenticated', 'the token and the client certificate are of different callers');
const tooMany = refuse('AddressLimited', 'use credentials that were accepted before, or wait', 1_000);

/** The uses that the surface has; its operations ask for nothing else. */
const allUses: ReadonlySet<Scope> = new Set(
  scopes.filter((scope) => !['kms:wrap', 'kms:unwrap', 'kms:derive'].includes(scope)),
);

/** Whoever claims a certificate in development. */
const developer: PlacedIdentity = {
  tenant: 'mock-tenant',
  environments: 'all',
  planes: 'all',
  module: 'mock-module',
};

/**
 * Callers with a placement, by a client certificate, a JSON Web Token, a capability, or several that agree. What shows no
 * `placed` is the capabilities' affair alone.
 */
export function createPlacedAuthenticator(parts: PlacedAuthenticatorParts): PlacedAuthenticator {
  return new ByProofs(parts);
}

/** A token whose signature is right, and what it says. */
interface Verified {
  readonly identity: PlacedIdentity;
  readonly subject: string;
  readonly uses: ReadonlySet<Scope>;
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
}

class ByProofs implements PlacedAuthenticator {
  readonly #parts: PlacedAuthenticatorParts;
  #tokens: TokenVerifier | undefined;
  /** By the SHA-256 of the token, so that it holds none. */
  readonly #verified = new BoundedCache<string, Verified>(maxVerified);
  readonly #certificates = new WeakMap<PeerCertificate, { readonly identity: PlacedIdentity | undefined }>();

  constructor(parts: PlacedAuthenticatorParts) {
    this.#parts = parts;
    this.#tokens = parts.tokens;
  }

  useTokens(tokens: TokenVerifier | undefined): void {
    this.#tokens = tokens;
    this.#verified.clear();
  }

  authenticate(credentials: Credentials, request: RequestFacts): Result<Caller> {
    const { placed, token } = credentials;
    if (placed === undefined) return this.#parts.capabilities.authenticate(credentials, request);
    if (token === undefined) return this.#byCertificate(credentials);
    if (!isJsonWebToken(token)) return this.#byCapability(credentials, request);
    const verified = this.#verified.get(nameOf(token));
    return verified === undefined ? invalid : this.#byToken(verified, credentials, request);
  }

  authenticateLater(credentials: Credentials, request: RequestFacts): Promise<Result<Caller>> | undefined {
    const { placed, token } = credentials;
    if (placed === undefined) return this.#parts.capabilities.authenticateLater?.(credentials, request);
    const tokens = this.#tokens;
    if (token === undefined || tokens === undefined || !isJsonWebToken(token)) return undefined;
    const name = nameOf(token);
    if (this.#verified.get(name) !== undefined) return undefined;
    if (request.mayVerify?.() === false) return Promise.resolve(tooMany);
    return this.#verify(tokens, token, name, credentials, request);
  }

  async #verify(
    tokens: TokenVerifier,
    token: string,
    name: string,
    credentials: Credentials,
    request: RequestFacts,
  ): Promise<Result<Caller>> {
    const claims = await tokens.verify(token);
    if (!claims.ok) return claims;
    const verified = verifiedOf(claims.value);
    if (verified === undefined) return invalid;
    // Its keys may have been replaced meanwhile.
    if (tokens === this.#tokens) this.#verified.set(name, verified);
    return this.#byToken(verified, credentials, request);
  }

  #byCertificate(credentials: Credentials): Result<Caller> {
    const shown = this.#shown(credentials);
    if (shown === undefined) return nobody;
    return callerOf(shown, shown.module ?? '', allUses, undefined) ?? nobody;
  }

  #byToken(verified: Verified, credentials: Credentials, { utcMs }: RequestFacts): Result<Caller> {
    const { timeSkewToleranceMs } = this.#parts;
    const { identity, subject, uses, notBeforeMs, expiresAtMs } = verified;
    // Written so that a time that is not a number refuses.
    if (!(utcMs < expiresAtMs + timeSkewToleranceMs)) return expired;
    if (!(utcMs >= notBeforeMs - timeSkewToleranceMs)) return notYetValid;
    const both = agreed(identity, this.#shown(credentials));
    if (both === undefined) return disagree;
    return callerOf(both, subject, uses, expiresAtMs) ?? incomplete;
  }

  /** A capability without such caveats is for every environment and plane: its holder could add any. */
  #byCapability(credentials: Credentials, request: RequestFacts): Result<Caller> {
    const answer = this.#parts.capabilities.authenticate(credentials, request);
    if (!answer.ok) return answer;
    const { tenant, actor, placement } = answer.value;
    const shown = this.#shown(credentials);
    if (shown === undefined && placement !== undefined) return answer;
    const module = placement?.module === actor ? undefined : placement?.module;
    const own = { tenant, environments: placement?.environments, planes: placement?.planes, module };
    const both = agreed(own, shown);
    if (both === undefined) return disagree;
    const placed = {
      environments: both.environments ?? 'all',
      planes: both.planes ?? 'all',
      module: both.module ?? actor,
    };
    return ok(Object.freeze({ ...answer.value, placement: Object.freeze(placed) }));
  }

  /** The certificate's word, or in development the header's. A proxy's certificate and its loopback say nothing of whom it asks for. */
  #shown({ peer, forwarded, placed }: Credentials): PlacedIdentity | undefined {
    if (forwarded === true) return undefined;
    const { certificate } = peer();
    const identity = certificate === undefined ? undefined : this.#identityIn(certificate);
    if (identity !== undefined || !this.#parts.development) return identity;
    return (placed?.claimedCertificate ?? '') === '' ? undefined : developer;
  }

  /** Read once for each connection. */
  #identityIn(certificate: PeerCertificate): PlacedIdentity | undefined {
    let read = this.#certificates.get(certificate);
    if (read === undefined) {
      read = { identity: identityIn(certificate, this.#parts.mappings) };
      this.#certificates.set(certificate, read);
    }
    return read.identity;
  }
}

function nameOf(token: string): string {
  return hash('sha256', token, 'base64');
}

/** In its compact form (RFC 7515 section 7.1): a capability has no dot. */
function isJsonWebToken(token: string): boolean {
  return token.includes('.');
}

function verifiedOf({ subject, all, notBeforeMs, expiresAtMs }: TokenClaims): Verified | undefined {
  const identity = identityClaimed(all);
  return identity === undefined
    ? undefined
    : { identity, subject, uses: usesIn(all), notBeforeMs, expiresAtMs };
}

/** The claim `scope` (RFC 8693 section 4.2) narrows, where it speaks of keys at all. */
function usesIn({ scope }: Readonly<Record<string, unknown>>): ReadonlySet<Scope> {
  if (typeof scope !== 'string') return allUses;
  const named = scope.split(' ').filter((each) => each.startsWith('kms:'));
  return named.length === 0 ? allUses : new Set([...allUses].filter((each) => named.includes(each)));
}

/** Undefined where the identity is not whole. */
function callerOf(
  { tenant, environments, planes, module }: PlacedIdentity,
  subject: string,
  uses: ReadonlySet<Scope>,
  expiresAtMs: number | undefined,
): Result<Caller> | undefined {
  if (environments === undefined || planes === undefined || module === undefined) return undefined;
  const end = expiresAtMs === undefined ? undefined : { expiresAtMs };
  return ok(
    Object.freeze({
      ...{ tenant, scopes: uses, actor: pseudonymOf(tenant, subject), ...end },
      placement: Object.freeze({ environments, planes, module }),
    }),
  );
}
