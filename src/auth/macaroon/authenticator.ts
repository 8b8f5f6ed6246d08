import { hash, timingSafeEqual } from 'node:crypto';
import { BoundedCache } from '../../core/bounded-cache.ts';
import { type Clock, systemClock } from '../../core/clock.ts';
import type { MacKey } from '../../core/mac-key.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { Caller, CallerPlacement } from '../../core/scope.ts';
import type { Authenticator, Credentials, RequestFacts } from '../auth.ts';
import type { RequestCondition } from './caveats.ts';
import { type Accounts, conditionsOf } from './conditions.ts';
import { readDualControlId } from './dual-control.ts';
import { decodeToken, encodeBinary, maxTokenCharacters, type PresentedMacaroon } from './encoding.ts';
import { type Grant, grantOf, type Limit, type Source } from './grant.ts';
import { actorOf, type Identifier, readIdentifier } from './identifier.ts';
import { type MacaroonRootKey, macaroonKeyOf, signatureOf } from './key.ts';
import type { Ledger } from './ledger.ts';
import { LimitCounters } from './limits.ts';
import { type RevocableFacts, type Revocations, revokesNothing } from './revocations.ts';
import { oneRootKey, type RootKeys } from './root-keys.ts';
import { discharged, openVerificationId, type Pending, parseDischarges } from './third-party.ts';

export interface MacaroonOptions {
  /** One key, with the id 0; or all, by their ids. */
  readonly rootKey: MacaroonRootKey | RootKeys;
  readonly timeSkewToleranceMs: number;
  /** The name of this service, for capabilities that are bound to one. Absent: those are refused. */
  readonly audience?: string | undefined;
  readonly revocations?: Revocations;
  /** Absent: calls that have to be counted durably are refused. */
  readonly ledger?: Ledger;
  readonly clock?: Clock;
  /** Verified capabilities kept at most. 32,768 are several for each service of a company; at 600 bytes each, 20 MB. */
  readonly maxVerified?: number;
  /**
   * Those with conditions on requests or calls: some 2 KB each, so 16 MB. The holder of one can make any number of others from
   * it; one of 1,024 characters takes 13 KB at most.
   */
  readonly maxConditioned?: number;
  /** Refused tokens kept at most, apart from the verified ones so that a flood of bad tokens evicts no good one. */
  readonly maxRefused?: number;
}

/** Conditioned ones that are longer than this have a cache of their own, as each can take 60 KB: 30 MB. */
const longToken = 1_024;
const maxLong = 512;

/** A capability whose signature is right. */
interface Verified {
  readonly answer: Result<Caller>;
  readonly notBeforeMs: number;
  readonly expiresAtMs: number;
  /** The generation of root keys and revocations when these were asked last. */
  generation: number;
  /** Undefined, as of most: nothing is asked of the request. */
  readonly demands: Demands | undefined;
  readonly standing: RevocableFacts;
  readonly rootKey: MacKey;
}

interface Demands {
  readonly request: readonly RequestCondition[];
  readonly rates: readonly Limit[];
}

const invalid = refuse('Unauthenticated', 'send Authorization: Bearer with a capability of this service');
const tooMany = refuse('AddressLimited', 'use a capability that was accepted before, or wait', 1_000);
const expired = refuse('Unauthenticated', 'the capability has expired; ask for a new one');
const notYetValid = refuse('Unauthenticated', 'the capability is not valid yet');
const revoked = refuse('Unauthenticated', 'the capability was revoked; ask for a new one');
const onlyPlaced = refuse(
  'Unauthenticated',
  'the capability is for environments, planes or a module, of which this surface knows nothing',
);
const notDischarged = refuse(
  'Unauthenticated',
  'the capability needs valid discharges, bound to it, in X-KMS-Discharge',
);

const noLedger: Ledger = { enter: async () => refuse('StoreUnavailable') };

/**
 * Macaroons (Birgisson et al., NDSS 2014): HMAC-SHA-256 chains under root keys by id.
 *
 * All caches are keyed by the SHA-256 of the token, a quarter of a microsecond: they hold no live token, and the
 * comparison inside Map is of digests that a caller cannot steer, so its timing says nothing. The text of a request's
 * token is in the heap all the same, until V8 collects it and something else is written there.
 */
export function createMacaroonAuthenticator(options: MacaroonOptions): Authenticator {
  const { clock = systemClock, ledger = noLedger } = options;
  return new MacaroonAuthenticator(options, { counters: new LimitCounters(clock), ledger });
}

class MacaroonAuthenticator implements Authenticator {
  readonly #options: MacaroonOptions;
  readonly #rootKeys: RootKeys;
  readonly #revocations: Revocations;
  readonly #accounts: Accounts;
  readonly #verified: BoundedCache<string, Verified>;
  readonly #conditioned: BoundedCache<string, Verified>;
  readonly #long = new BoundedCache<string, Verified>(maxLong);
  readonly #refused: BoundedCache<string, Refused>;
  /** The generation of root keys under which tokens were refused. */
  #refusedAt = 0;

  constructor(options: MacaroonOptions, accounts: Accounts) {
    const { rootKey } = options;
    this.#options = options;
    this.#accounts = accounts;
    this.#rootKeys = 'ids' in rootKey ? rootKey : oneRootKey(macaroonKeyOf(rootKey));
    this.#revocations = options.revocations ?? revokesNothing;
    this.#verified = new BoundedCache(options.maxVerified ?? 32_768);
    this.#conditioned = new BoundedCache(options.maxConditioned ?? 8_192);
    this.#refused = new BoundedCache(options.maxRefused ?? 8_192);
  }

  authenticate(credentials: Credentials, request: RequestFacts): Result<Caller> {
    const { token } = credentials;
    if (token === undefined) return refuse('Unauthenticated');
    if (token.length > maxTokenCharacters) return invalid;
    const name = hash('sha256', token, 'base64');
    let entry = this.#verified.get(name) ?? this.#conditioned.get(name) ?? this.#long.get(name);
    if (entry === undefined) {
      const found = this.#verify(token, name, credentials, request);
      if ('ok' in found) return found;
      entry = found;
    }
    if (entry.generation !== this.#generation && !this.#stillHolds(entry)) return this.#refuse(name, revoked);
    return this.#judge(entry, credentials, request);
  }

  get #generation(): number {
    // Neither ever goes back, so the sum stays the same only where both do.
    return this.#rootKeys.generation + this.#revocations.generation;
  }

  #judge(entry: Verified, credentials: Credentials, request: RequestFacts): Result<Caller> {
    const { timeSkewToleranceMs, audience } = this.#options;
    // Written so that a time that is not a number refuses.
    if (!(request.utcMs < entry.expiresAtMs + timeSkewToleranceMs)) return expired;
    if (!(request.utcMs >= entry.notBeforeMs - timeSkewToleranceMs)) return notYetValid;
    if (entry.demands === undefined) return entry.answer;
    for (const judge of entry.demands.request) {
      const refused = judge(request, audience, credentials);
      if (refused !== undefined) return refused;
    }
    for (const limit of entry.demands.rates) {
      const refused = this.#accounts.counters.take(limit, 1);
      if (refused !== undefined) return refused;
    }
    return entry.answer;
  }

  /** Asked again only where a root key or a revocation has changed. */
  #stillHolds(entry: Verified): boolean {
    const { standing } = entry;
    if (this.#rootKeys.get(standing.rootKeyId) !== entry.rootKey) return false;
    if (this.#revocations.revokes(standing)) return false;
    entry.generation = this.#generation;
    return true;
  }

  #refuse(name: string, refused: Refused): Refused {
    this.#verified.delete(name);
    this.#conditioned.delete(name);
    this.#long.delete(name);
    this.#refused.set(name, refused);
    return refused;
  }

  #verify(
    token: string,
    name: string,
    { discharges }: Credentials,
    request: RequestFacts,
  ): Verified | Refused {
    if (this.#refusedAt !== this.#rootKeys.generation) {
      // One of them may have been made under a key that is here only now.
      this.#refused.clear();
      this.#refusedAt = this.#rootKeys.generation;
    }
    const known = this.#refused.get(name);
    if (known !== undefined) return known;
    // A capability with third-party caveats is verified at every call, as its discharges are for one.
    if (request.mayVerify?.() === false) return tooMany;
    const signed = verifySignature(this.#rootKeys, token);
    if (signed === undefined) return this.#refuse(name, invalid);
    if (signed.pending.length > 0) return this.#withDischarges(signed, discharges);
    const grant = grantOf([signed.presented]);
    if (grant === undefined) return this.#refuse(name, invalid);
    const entry = this.#entry(signed, grant, []);
    if (this.#revocations.revokes(entry.standing)) return this.#refuse(name, revoked);
    const plain =
      entry.demands === undefined && entry.answer.ok && entry.answer.value.conditions === undefined;
    const cache = plain ? this.#verified : token.length <= longToken ? this.#conditioned : this.#long;
    cache.set(name, entry);
    return entry;
  }

  #withDischarges(signed: Signed, header: string | undefined): Verified | Refused {
    const { presented, pending } = signed;
    const discharges = header === undefined ? undefined : parseDischarges(header);
    const used = discharges && discharged(presented.signature, pending, discharges);
    if (used === undefined) return notDischarged;
    const grant = grantOf([presented, ...used]);
    if (grant === undefined) return notDischarged;
    const entry = this.#entry(signed, grant, used);
    // Nobody agrees whose capability was revoked. When that one was issued, a discharge does not say.
    const agreed = { ...entry.standing, issuedAtMs: Number.POSITIVE_INFINITY };
    const gone = grant.approvers.some((actor) => this.#revocations.revokes({ ...agreed, actor }));
    return gone || this.#revocations.revokes(entry.standing) ? revoked : entry;
  }

  #entry({ presented, read, rootKey }: Signed, grant: Grant, used: readonly Source[]): Verified {
    const { tenant, scopes, notBeforeMs, placement } = grant;
    const { rootKeyId, issuedAtMs } = read;
    const actor = actorOf(presented.identifier);
    const agreed = used.flatMap(({ identifier }) =>
      readDualControlId(identifier) === undefined ? [] : [identifier],
    );
    const expiresAtMs = Math.min(read.expiresAtMs, grant.expiresAtMs);
    const conditions = conditionsOf({ ...grant, expiresAtMs }, read.expiresAtMs, agreed, this.#accounts);
    const rates = grant.limits.filter(({ kind }) => kind === 'rate');
    const end = Number.isFinite(expiresAtMs) ? { expiresAtMs } : undefined;
    const caller = { tenant, scopes, actor, ...end, ...placedAs(placement, actor) };
    const request = placement === undefined ? grant.request : [...grant.request, knowsPlacements];
    return {
      answer: ok(Object.freeze(conditions === undefined ? caller : { ...caller, conditions })),
      notBeforeMs,
      expiresAtMs,
      generation: this.#generation,
      demands: request.length === 0 && rates.length === 0 ? undefined : { request, rates },
      standing: { tenant, actor, rootKeyId, issuedAtMs },
      rootKey,
    };
  }
}

/** One that names no module is its own. */
function placedAs(
  placement: Grant['placement'],
  actor: string,
): { readonly placement: CallerPlacement } | undefined {
  if (placement === undefined) return undefined;
  return { placement: Object.freeze({ ...placement, module: placement.module ?? actor }) };
}

/** Where nobody looks at them, they would restrict nothing. */
const knowsPlacements: RequestCondition = (_facts, _audience, { placed }) =>
  placed === undefined ? onlyPlaced : undefined;

/** A macaroon with the right signature, whose caveats nobody has judged. */
export interface Signed {
  readonly presented: PresentedMacaroon;
  readonly pending: readonly Pending[];
  readonly read: Identifier;
  readonly rootKey: MacKey;
}

/**
 * Builds the macaroon again under our key and compares all of its bytes, in constant time. Against the library's own
 * `verify` this covers encoding and locations, which no signature covers, and a mismatch is a value, not a throw.
 */
export function verifySignature(rootKeys: RootKeys, token: string): Signed | undefined {
  const presented = decodeToken(token);
  const read = presented === undefined ? undefined : readIdentifier(presented.identifier);
  const rootKey = read === undefined ? undefined : rootKeys.get(read.rootKeyId);
  if (presented === undefined || read === undefined || rootKey === undefined) return undefined;
  const { identifier, caveats, binary } = presented;
  const opened: (Pending | undefined)[] = [];
  const signature = signatureOf(rootKey, identifier, caveats, (caveat, before) =>
    opened.push(openVerificationId(caveat, before)),
  );
  const expected = encodeBinary(identifier, caveats, signature);
  if (expected.length !== binary.length || !timingSafeEqual(expected, binary)) return undefined;
  const pending = opened.filter((one) => one !== undefined);
  if (pending.length !== opened.length) return undefined;
  return { presented, pending, read, rootKey };
}
