import { hash, randomUUID } from 'node:crypto';
import type { Algorithm } from '../../algorithms/descriptor.ts';
import type { Clock } from '../../core/clock.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { PrivateParts } from '../../keys/keyring.ts';
import type { KeyPart } from '../../keys/record.ts';

/** A key under which others wrap what they bring. It lives in this process alone, sealed as all private keys are. */
export interface WrappingKey {
  readonly id: string;
  readonly algorithm: Algorithm;
  readonly publicKey: Uint8Array;
  /** The bytes by which the engine uses it. */
  readonly reference: Uint8Array;
  /** UTC. */
  readonly expiresAtMs: number;
}

interface Kept extends WrappingKey {
  reference: Uint8Array;
  readonly tenant: string;
  /** SHA-256 of the materials that were brought under it, in hex. */
  readonly brought: Set<string>;
  /** Materials that did not open. */
  failures: number;
}

export const wrappingKeyLivesMs = 3_600_000;
/** Who asks for one has so long at least; then there is a new one. So a tenant has three of an algorithm at most. */
const leastLeftMs = wrappingKeyLivesMs / 2;
/** About 5 KiB each. */
const maxWrappingKeys = 1_024;
/** Digests that one key remembers; more keys than that are brought under the next one. */
const maxBrought = 1_000;
/** What does not open costs a private operation, and an attack on the padding needs very many. */
const maxFailures = 16;
const retryAfterMs = 60_000;

const tooMany = refuse('Backpressure', 'too many wrapping keys are in use', retryAfterMs);
const unknown = refuse('NotFound', 'there is no such wrapping key, or its hour is over: ask for a new one');
const replayed = refuse('Conflict', 'this material was brought before');

/** The wrapping keys of all tenants. */
export class WrappingKeys {
  readonly #custody: Pick<PrivateParts, 'generate' | 'keyReference'>;
  readonly #clock: Clock;
  readonly #keys = new Map<string, Kept>();
  readonly #beingMade = new Map<string, Promise<Result<WrappingKey>>>();

  constructor(custody: Pick<PrivateParts, 'generate' | 'keyReference'>, clock: Clock) {
    this.#custody = custody;
    this.#clock = clock;
  }

  /** The tenant's newest one of this algorithm, or a new one; making RSA-4096 takes seconds. */
  current(tenant: string, algorithm: Algorithm): Result<WrappingKey> | Promise<Result<WrappingKey>> {
    this.#forgetExpired();
    const nowMs = this.#clock.utcMs();
    for (const key of this.#keys.values()) {
      const isFresh = key.expiresAtMs - nowMs >= leastLeftMs && key.brought.size < maxBrought;
      if (isFresh && key.tenant === tenant && key.algorithm === algorithm) return ok(key);
    }
    const name = `${tenant}/${algorithm.name}`;
    const beingMade = this.#beingMade.get(name);
    if (beingMade !== undefined) return beingMade;
    if (this.#keys.size + this.#beingMade.size >= maxWrappingKeys) return tooMany;
    const made = this.#make(tenant, algorithm).finally(() => this.#beingMade.delete(name));
    this.#beingMade.set(name, made);
    return made;
  }

  async #make(tenant: string, algorithm: Algorithm): Promise<Result<WrappingKey>> {
    const id = randomUUID();
    // No kid has this form, so no blob of a key opens as one of these, nor the other way round.
    const name = `wrapping-key/${id}`;
    const parts = await this.#custody.generate(algorithm, tenant, name);
    if (!parts.ok) return parts;
    const [part] = parts.value as [KeyPart];
    const key: Kept = {
      ...{ id, tenant, algorithm, publicKey: part.publicKey, brought: new Set(), failures: 0 },
      reference: this.#custody.keyReference(part, 0, tenant, name),
      expiresAtMs: this.#clock.utcMs() + wrappingKeyLivesMs,
    };
    this.#keys.set(id, key);
    return ok(key);
  }

  find(tenant: string, id: string): Result<WrappingKey> {
    const key = this.#find(tenant, id);
    return key === undefined ? unknown : ok(key);
  }

  #find(tenant: string, id: string): Kept | undefined {
    this.#forgetExpired();
    const key = this.#keys.get(id.toLowerCase());
    return key?.tenant === tenant ? key : undefined;
  }

  /**
   * Opens `material` by the key with `open`, once: the same material a second time is Conflict. What did not come to be opened
   * may come again. `open` says Rejected by BadRequest.
   */
  async bring<T>(
    tenant: string,
    id: string,
    material: Uint8Array,
    open: (key: WrappingKey) => Promise<Result<T>>,
  ): Promise<Result<T>> {
    const key = this.#find(tenant, id);
    if (key === undefined) return unknown;
    const digest = hash('sha256', material);
    const refused = this.#refusalOf(key, digest);
    if (refused !== undefined) return refused;
    key.brought.add(digest);
    const opened = await open(key);
    if (opened.ok) return opened;
    key.brought.delete(digest);
    if (opened.failure.code === 'BadRequest') this.#failed(key);
    return opened;
  }

  /** The references are made anew: the root key that they are sealed under is replaced. */
  renew(anew: (reference: Uint8Array) => Uint8Array): void {
    for (const key of this.#keys.values()) key.reference = anew(key.reference);
  }

  /** What was opened for a change that did not happen may come again. */
  takeBack(tenant: string, id: string, material: Uint8Array): void {
    this.#find(tenant, id)?.brought.delete(hash('sha256', material));
  }

  #refusalOf({ brought }: Kept, digest: string): Refused | undefined {
    if (brought.has(digest)) return replayed;
    return brought.size >= maxBrought ? unknown : undefined;
  }

  #failed(key: Kept): void {
    key.failures++;
    if (key.failures >= maxFailures) this.#keys.delete(key.id);
  }

  /** All are looked at: after a clock was set back, the order is not that of their ends. */
  #forgetExpired(): void {
    const nowMs = this.#clock.utcMs();
    for (const [id, { expiresAtMs }] of this.#keys) if (expiresAtMs <= nowMs) this.#keys.delete(id);
  }
}
