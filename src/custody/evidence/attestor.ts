import { hash } from 'node:crypto';
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { Clock } from '../../core/clock.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import { publicKeySha256 } from '../../keys/authenticity.ts';
import { isPublicOnly, softwareBackend } from '../../keys/record.ts';
import type { Home, TokenEvidence } from '../custody.ts';
import type { AttestedKey, EvidenceSource, SignedEvidence } from '../key-evidence.ts';
import { boundTo, claimsOf, type ResidenceFacts, type SoftwareFacts } from './claims.ts';
import { type EvidenceSigner, signEvidence } from './jws.ts';

/** The home of a key, as an attestor sees it. */
export type AttestedHome = Pick<Home, 'contact' | 'evidence'> & {
  readonly custody: Pick<Home['custody'], 'backend' | 'attestationClass'>;
};

export interface AttestorParts {
  /** All but software. */
  readonly homes: readonly AttestedHome[];
  /** The class of keys in software. */
  readonly softwareClass: string;
  readonly software: () => SoftwareFacts;
  /** The log's name, and the keys of the newest generation that sign for it. */
  readonly signers: () => { readonly issuer: string; readonly signers: readonly EvidenceSigner[] };
  readonly clock: Clock;
  /** Told of each time that evidence was made, or could not be. */
  readonly made: (backend: string, done: boolean) => void;
}

/** The checklist's: a token that has not answered by then gives no evidence. */
export const evidenceDeadlineMs = 3_000;
/** Long enough to reach who verifies it, and short enough that a token that was lost shows. */
const validMs = 600_000;
/** Kept evidence is made anew at the next use after this, in the background. */
const renewAfterMs = 300_000;
/** Who gets it has at least a minute to verify it. */
const usableMs = validMs - 60_000;
/** A token that gave none is not asked again for each signature. */
const failedForMs = 5_000;
/** A key that is never used again, or is destroyed, does not hold the service's readiness up longer. */
const missingForMs = 60_000;
/** Some 5 KiB each. */
const maxKept = 2_048;
/** With nonces, two signatures each, 0.3 ms: as many take a worker 20 ms. A tenant has a quarter of them. */
const maxUnderWay = 64;
const maxOfTenant = maxUnderWay / 4;
/** Without, of as many keys; each is waited for by signatures that are bounded already. */
const maxKeptUnderWay = 512;

interface Kept {
  readonly evidence: SignedEvidence;
  readonly madeAtMs: number;
}

const noEvidence = refuse('AttestationMissing', 'the backend of this key gives no evidence');
const broken = refuse('AttestationMissing', 'the backend of this key could not give evidence');
const tooLate = refuse('AttestationMissing', 'no evidence came in time');
const tooMany = refuse('Backpressure', 'too much evidence is being made', 20);
const notSigned = refuse('Timeout', 'the attestation keys had no time to sign the evidence');
const destroyed = refuse('Conflict', 'the key is destroyed');

/** Makes evidence, and keeps that which has no caller's nonce, so that signing waits for it once in minutes. */
export class Attestor implements EvidenceSource {
  readonly #parts: AttestorParts;
  readonly #homes: ReadonlyMap<string, AttestedHome>;
  readonly #kept = new BoundedCache<string, Kept>(maxKept);
  readonly #making = new Map<string, Promise<Result<SignedEvidence>>>();
  readonly #failed = new BoundedCache<string, { readonly refused: Refused; readonly untilMs: number }>(
    maxKept,
  );
  /** By backend, the key for which it gave no evidence last. */
  readonly #missing = new Map<string, { readonly key: AttestedKey; readonly untilMs: number }>();
  /** By backend, when it gave some last. */
  readonly #gaveAtMs = new Map<string, number>();
  readonly #retry: NodeJS.Timeout;
  readonly #underWay = new Map<string, number>();
  #allUnderWay = 0;

  constructor(parts: AttestorParts) {
    this.#parts = parts;
    this.#homes = new Map(parts.homes.map((home) => [home.custody.backend, home]));
    // While the service is not ready nobody may sign, and so nothing else would try.
    this.#retry = setInterval(() => this.#tryMissing(), failedForMs).unref();
  }

  attest(key: AttestedKey, nonce: string): Promise<Result<SignedEvidence>> {
    const { tenant } = key.head;
    const own = this.#underWay.get(tenant) ?? 0;
    if (own >= maxOfTenant || this.#allUnderWay >= maxUnderWay) return Promise.resolve(tooMany);
    this.#allUnderWay++;
    this.#underWay.set(tenant, own + 1);
    return this.#make(key, nonce, () => {
      this.#allUnderWay--;
      const left = (this.#underWay.get(tenant) ?? 1) - 1;
      if (left > 0) this.#underWay.set(tenant, left);
      else this.#underWay.delete(tenant);
    });
  }

  kept(key: AttestedKey): SignedEvidence | undefined {
    const kept = this.#kept.get(nameOf(key));
    if (kept === undefined) return undefined;
    return this.#parts.clock.monotonicMs() - kept.madeAtMs < usableMs ? kept.evidence : undefined;
  }

  evidence(key: AttestedKey): Result<SignedEvidence> | Promise<Result<SignedEvidence>> {
    const name = nameOf(key);
    const nowMs = this.#parts.clock.monotonicMs();
    const kept = this.#kept.get(name);
    const ageMs = kept === undefined ? Number.POSITIVE_INFINITY : nowMs - kept.madeAtMs;
    const failed = this.#failed.get(name);
    const resting = failed !== undefined && nowMs < failed.untilMs;
    if (kept !== undefined && ageMs < usableMs) {
      if (ageMs >= renewAfterMs && !resting) void this.#makeKept(key);
      return ok(kept.evidence);
    }
    return resting ? failed.refused : this.#makeKept(key);
  }

  /** The backends, software aside, that give no evidence now; sorted. */
  get missing(): readonly string[] {
    const mute = this.#parts.homes.filter(
      ({ custody, contact, evidence }) =>
        evidence === undefined || contact?.up === false || this.#isMissing(custody.backend),
    );
    const names = mute.map(({ custody }) => custody.backend);
    return [...names, ...(this.#isMissing(softwareBackend) ? [softwareBackend] : [])].sort();
  }

  #isMissing(backend: string): boolean {
    const missing = this.#missing.get(backend);
    return missing !== undefined && this.#parts.clock.monotonicMs() < missing.untilMs;
  }

  close(): void {
    clearInterval(this.#retry);
    this.#missing.clear();
  }

  #tryMissing(): void {
    for (const [backend, { key }] of this.#missing) {
      if (this.#isMissing(backend)) void this.#makeKept(key);
      else this.#missing.delete(backend);
    }
  }

  #makeKept(key: AttestedKey): Promise<Result<SignedEvidence>> {
    const name = nameOf(key);
    const { clock } = this.#parts;
    const making = this.#making.get(name);
    if (making !== undefined) return making;
    if (this.#making.size >= maxKeptUnderWay) return Promise.resolve(tooMany);
    const made = this.#make(key, undefined, () => {})
      .then((result) => {
        if (result.ok) {
          this.#kept.set(name, { evidence: result.value, madeAtMs: clock.monotonicMs() });
          this.#failed.delete(name);
        } else if (isOfBackend(result)) {
          this.#failed.set(name, { refused: result, untilMs: clock.monotonicMs() + failedForMs });
        }
        return result;
      })
      .finally(() => this.#making.delete(name));
    this.#making.set(name, made);
    return made;
  }

  async #make(
    key: AttestedKey,
    nonce: string | undefined,
    ends: () => void,
  ): Promise<Result<SignedEvidence>> {
    const { backend } = key.head;
    const making =
      key.version.state === 'destroyed'
        ? Promise.resolve(destroyed)
        : this.#collect(key, nonce).catch(() => broken);
    // A token that hangs gives the place back only when it is done.
    void making.finally(ends);
    if (key.version.state === 'destroyed') return making;
    const made = await within(evidenceDeadlineMs, making);
    this.#parts.made(backend, made.ok);
    this.#note(key, made);
    return made;
  }

  /** One key that its token does not know must not take the service's readiness, while others of this backend have evidence. */
  #note(key: AttestedKey, made: Result<SignedEvidence>): void {
    const { backend } = key.head;
    const nowMs = this.#parts.clock.monotonicMs();
    if (made.ok) {
      this.#gaveAtMs.set(backend, nowMs);
      this.#missing.delete(backend);
      return;
    }
    const { code } = made.failure;
    const ofKey = code === 'AttestationMissing' && made !== tooLate && made !== broken;
    const gaveAtMs = this.#gaveAtMs.get(backend) ?? Number.NEGATIVE_INFINITY;
    if (!isOfBackend(made) || (ofKey && nowMs - gaveAtMs < validMs) || this.#isMissing(backend)) return;
    this.#missing.set(backend, { key, untilMs: nowMs + missingForMs });
  }

  async #collect(key: AttestedKey, nonce: string | undefined): Promise<Result<SignedEvidence>> {
    const residence = await this.#residence(key, nonce);
    if (!residence.ok) return residence;
    const { clock, software, signers, softwareClass } = this.#parts;
    const { issuer, signers: keys } = signers();
    const residenceClass = this.#homes.get(key.head.backend)?.custody.attestationClass ?? softwareClass;
    const atMs = clock.utcMs();
    const claims = claimsOf({
      ...{ key, nonce, issuer, atMs, expiresAtMs: atMs + validMs },
      ...{ class: residenceClass, software: software(), residence: residence.value },
    });
    const jws = await signEvidence(claims, keys).catch(() => undefined);
    // Workers that are too busy say nothing of the backend.
    if (jws === undefined) return notSigned;
    const sha256 = hash('sha256', claims, 'hex');
    return ok({ kid: key.version.kid, backend: key.head.backend, class: residenceClass, sha256, jws });
  }

  async #residence(
    { head, version }: AttestedKey,
    nonce: string | undefined,
  ): Promise<Result<ResidenceFacts>> {
    if (isPublicOnly(version.source)) return ok({ kind: 'elsewhere' });
    if (head.backend === softwareBackend) return ok({ kind: 'software' });
    const home = this.#homes.get(head.backend);
    if (home?.evidence === undefined) return noEvidence;
    const told: TokenEvidence[] = [];
    const bound = boundTo({ kid: version.kid, nonce, publicKeySha256: publicKeySha256(version.parts) });
    for (const { keyReference } of version.parts) {
      const evidence = await home.evidence(keyReference, bound);
      if (!evidence.ok) return evidence;
      told.push(evidence.value);
    }
    const [first, ...others] = told;
    return first === undefined ? noEvidence : ok({ kind: 'token', parts: [first, ...others] });
  }
}

/** Another backend may sign in the place of the key's own, and its word is another. */
function nameOf({ head, version }: AttestedKey): string {
  return `${head.backend} ${version.kid}`;
}

function isOfBackend({ failure: { code } }: Refused): boolean {
  return code === 'AttestationMissing' || code === 'StoreUnavailable';
}

function within<T>(ms: number, making: Promise<Result<T>>): Promise<Result<T>> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Result<T>>((resolve) => {
    timer = setTimeout(() => resolve(tooLate), ms);
  });
  return Promise.race([making, late]).finally(() => clearTimeout(timer));
}
