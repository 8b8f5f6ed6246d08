import {
  createLocalJWKSet,
  decodeJwt,
  errors,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose';
import type { TokenIssuer } from '../../config/policy-file.ts';
import type { Clock } from '../../core/clock.ts';
import { limitedText } from '../../core/limited-text.ts';
import { hasRepeatedMember } from '../../core/repeated-members.ts';
import { ok, type Result, refuse } from '../../core/result.ts';

/** The claims of a token that holds. */
export interface TokenClaims {
  readonly issuer: string;
  readonly subject: string;
  /** UTC, milliseconds since 1970; -Infinity where it has no `nbf`. */
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
  readonly all: Readonly<Record<string, unknown>>;
}

export interface TokenVerifier {
  /** Refuses with Unauthenticated what does not hold, and with NotReady where the issuer's keys cannot be had. */
  verify(token: string): Promise<Result<TokenClaims>>;
}

export interface TokenVerifierOptions {
  readonly issuers: readonly TokenIssuer[];
  readonly clock: Clock;
  readonly timeSkewToleranceMs: number;
  readonly readFile: (path: string) => string;
  /** Keys that could not be had, for the operator's log. */
  readonly onFailure: (issuer: string, cause: string) => void;
}

/** Keys of an issuer are read again after this long, as most providers ask for. */
const freshMs = 300_000;
/** An issuer that cannot be reached for an hour may have withdrawn a key. */
const staleMs = 3_600_000;
/** Tokens that name unknown keys cause one request in this time at most. */
const cooldownMs = 10_000;
const timeoutMs = 3_000;
/** A hundred keys of RSA-4096 have 70 KiB. */
const maxKeySetBytes = 131_072;
/** As much as a header may hold. */
const maxTokenCharacters = 8_192;

const invalid = refuse('Unauthenticated', 'the JSON Web Token does not hold');
const noKeys = refuse('NotReady', 'the keys of the issuer cannot be had', 1_000);

/** Verifies JSON Web Tokens (RFC 7519) of pinned issuers, for pinned audiences, by pinned algorithms (RFC 8725). */
export function createTokenVerifier(options: TokenVerifierOptions): TokenVerifier {
  const issuers = new Map(
    options.issuers.map((issuer) => [issuer.issuer, { issuer, keys: new IssuerKeys(issuer, options) }]),
  );
  return {
    async verify(token) {
      if (!isWellFormed(token)) return invalid;
      const known = issuers.get(issuerNamedIn(token));
      if (known === undefined) return invalid;
      const { issuer, keys } = known;
      try {
        const { payload } = await jwtVerify(token, keys.find, {
          issuer: issuer.issuer,
          audience: issuer.audience,
          algorithms: [...issuer.algorithms],
          requiredClaims: ['exp', 'sub'],
          clockTolerance: options.timeSkewToleranceMs / 1_000,
          currentDate: new Date(options.clock.utcMs()),
        });
        const { sub: subject, exp = 0, nbf = Number.NEGATIVE_INFINITY } = payload;
        // The library asks only that there is one.
        if (typeof subject !== 'string') return invalid;
        const times = { notBeforeMs: nbf * 1_000, expiresAtMs: exp * 1_000 };
        return ok({ issuer: issuer.issuer, subject, ...times, all: payload });
      } catch (error) {
        return error instanceof KeysUnavailable ? noKeys : invalid;
      }
    },
  };
}

/** Base64url alone (RFC 7515 section 7.1): the library passes over blanks. */
const compactForm = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/**
 * True of a signed token in its compact form, of whose members none is there twice: JSON.parse keeps the last of two, and others
 * the first.
 */
export function isWellFormed(token: string): boolean {
  if (token.length > maxTokenCharacters || !compactForm.test(token)) return false;
  return token.split('.', 2).every((part) => {
    const text = Buffer.from(part, 'base64url').toString();
    try {
      return !hasRepeatedMember(text, JSON.parse(text));
    } catch {
      return false;
    }
  });
}

function issuerNamedIn(token: string): string {
  try {
    return decodeJwt(token).iss ?? '';
  } catch {
    return '';
  }
}

class KeysUnavailable extends Error {}

/** The keys of one issuer, read when they are needed and kept while they are fresh, or, in need, not yet stale. */
class IssuerKeys {
  readonly #issuer: TokenIssuer;
  readonly #options: TokenVerifierOptions;
  #keySet: JWTVerifyGetKey | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #reading: Promise<void> | undefined;

  constructor(issuer: TokenIssuer, options: TokenVerifierOptions) {
    this.#issuer = issuer;
    this.#options = options;
  }

  readonly find: JWTVerifyGetKey = async (header, token) => {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#readAtMs > freshMs) await this.#readAgain(nowMs);
    if (this.#keySet === undefined || nowMs - this.#readAtMs > staleMs) throw new KeysUnavailable();
    try {
      return await this.#keySet(header, token);
    } catch (error) {
      // A key that was made after the last reading.
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await this.#readAgain(nowMs);
      return this.#keySet(header, token);
    }
  };

  async #readAgain(nowMs: number): Promise<void> {
    if (this.#reading !== undefined) return this.#reading;
    if (nowMs - this.#triedAtMs < cooldownMs) return;
    this.#triedAtMs = nowMs;
    this.#reading = this.#read();
    await this.#reading;
    this.#reading = undefined;
  }

  async #read(): Promise<void> {
    const { keys, issuer } = this.#issuer;
    try {
      const text = 'file' in keys ? this.#options.readFile(keys.file) : await fetched(keys.url);
      if (text.length > maxKeySetBytes) throw new Error('the key set has more than 128 KiB');
      this.#keySet = createLocalJWKSet(JSON.parse(text) as JSONWebKeySet);
      this.#readAtMs = this.#options.clock.monotonicMs();
    } catch (error) {
      this.#options.onFailure(issuer, error instanceof Error ? error.message : 'no key set');
    }
  }
}

async function fetched(url: string): Promise<string> {
  const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs) });
  if (response.status !== 200) throw new Error(`status ${response.status}`);
  return limitedText(response, maxKeySetBytes);
}
