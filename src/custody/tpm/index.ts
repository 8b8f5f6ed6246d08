import type { Algorithm } from '../../algorithms/descriptor.ts';
import type { Ability } from '../../algorithms/ids.ts';
import type { Clock } from '../../core/clock.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { CryptoCall } from '../../dispatch/crypto-dispatch.ts';
import type { BatchResult } from '../../engine/batch.ts';
import { buildKeyReference, partName } from '../../engine/key-reference.ts';
import type { PrivateParts } from '../../keys/keyring.ts';
import type { KeyPart } from '../../keys/record.ts';
import type { Carrier, JobEnd } from '../../queue/lane.ts';
import { Contact } from '../contact.ts';
import type { Custody, Home, HomeContact, TokenEvidence } from '../custody.ts';
import type { TpmDevice } from './device.ts';
import { TpmError } from './errors.ts';
import { authFor, keyTemplates } from './key-blob.ts';
import { isTrouble, TpmKeys } from './keys.ts';
import { readIdentity, type TpmIdentity } from './state.ts';
import { noAnswerInTime } from './transport.ts';

/** A TPM does one job at a time. Some more lie ready, so that it need not wait. */
const maxJobs = 4;
/** Interval of looks at an idle TPM, milliseconds. The kernel keeps the device, so that it seldom goes. */
const probeMs = 5_000;
const notDone = refuse('Internal');
const noKeyMade = refuse('StoreUnavailable', 'the TPM did not make the key; the log says why');
const noEvidence = refuse('AttestationMissing', 'the TPM does not sign for this key');
const leastRetryMs = 250;
const mostRetryMs = 5_000;

export interface TpmHomeOptions {
  /** The home's name in records and requests. */
  readonly backend: string;
  readonly device: TpmDevice;
  readonly clock: Clock;
  /** Told of trouble with one key, for the operator's log. */
  readonly tell?: (what: string, reason: string) => void;
}

/**
 * Keys of P-256 and RSA-2048 that a TPM 2.0 makes, and that no other TPM loads. Records keep blobs that only this TPM opens.
 * Commands go one at a time and do not block the main thread. A TPM that is away refuses at once.
 */
export class TpmHome implements Home, Custody, Carrier<CryptoCall> {
  readonly backend: string;
  /** The TPM says that its keys cannot leave it. */
  readonly attestationClass = 'tpm';
  readonly threads = 1;
  readonly overtakes = false;
  readonly lacks: ReadonlySet<Ability> = new Set(['mu', 'ed25519ph', 'context']);
  readonly #device: TpmDevice;
  readonly #keys: TpmKeys;
  readonly #contact: Contact;
  readonly #tell: NonNullable<TpmHomeOptions['tell']>;
  #identity: TpmIdentity | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #jobs = 0;
  #retryMs = leastRetryMs;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor({ backend, device, clock, tell = () => {} }: TpmHomeOptions) {
    this.#tell = tell;
    this.backend = backend;
    this.#device = device;
    this.#keys = new TpmKeys(device);
    this.#contact = new Contact(clock);
  }

  get custody(): Custody {
    return this;
  }

  get carrier(): Carrier<CryptoCall> {
    return this;
  }

  get contact(): HomeContact {
    return this.#contact;
  }

  /** Tries once. `contact` tries again where the TPM is away, and says so. */
  async open(): Promise<void> {
    this.#contact.trying = true;
    await this.#look();
    this.#contact.trying = false;
  }

  /** The caller closes the device. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    // Calls under way end first.
    await this.#last;
  }

  /** A key is loaded by its bytes, and the next one takes its place. */
  forget(): void {}

  holds({ components }: Algorithm): boolean {
    return components.every(({ keyType }) => keyTemplates[keyType] !== undefined);
  }

  async generate(
    ...[algorithm, tenant, versionedKid]: Parameters<PrivateParts['generate']>
  ): ReturnType<PrivateParts['generate']> {
    if (!this.holds(algorithm)) return refuse('Unsupported', 'this backend holds no keys of this alg');
    const parts: KeyPart[] = [];
    for (const [index, { keyType }] of algorithm.components.entries()) {
      const auth = authFor(Buffer.from(tenant), Buffer.from(partName(versionedKid, index)));
      const made = await this.#asking(() => this.#keys.make(keyType, auth), noKeyMade);
      if (!made.ok) return made;
      parts.push(made.value);
    }
    return ok(parts);
  }

  keyReference({ sealed }: KeyPart, partIndex: number, tenant: string, versionedKid: string): Uint8Array {
    return sealed === undefined
      ? new Uint8Array(0)
      : buildKeyReference(tenant, partName(versionedKid, partIndex), sealed);
  }

  /** The TPM keeps nothing of a key: it goes with its record. */
  async destroy(): ReturnType<PrivateParts['destroy']> {
    return ok(undefined);
  }

  async evidence(reference: Uint8Array, bound: Uint8Array): Promise<Result<TokenEvidence>> {
    const attested = await this.#asking(() => this.#keys.attest(reference, bound), noEvidence);
    if (!attested.ok) return attested;
    const { value } = attested;
    const identity = this.#identity;
    if (value === undefined || identity === undefined) return noEvidence;
    return ok({
      backend: this.backend,
      token: { label: this.backend, serial: '', ...identity },
      tpm: value.signed,
      key: {
        local: value.local,
        ...{ sensitive: true, alwaysSensitive: value.local },
        ...{ extractable: !value.fixed, neverExtractable: value.fixed },
      },
      asOfMs: Date.now(),
    });
  }

  get freeSlots(): number {
    // While the TPM is away, calls are taken and refused.
    return Math.max(0, maxJobs - this.#jobs);
  }

  get idleThreads(): number {
    return Math.max(0, this.threads - this.#jobs);
  }

  async carry(calls: CryptoCall[]): Promise<JobEnd | undefined> {
    this.#jobs++;
    try {
      for (const call of calls) call.settle(await this.#run(call));
    } finally {
      this.#jobs--;
    }
    return undefined;
  }

  async #run({ items, meters }: CryptoCall): Promise<Result<readonly BatchResult[]>> {
    const results: BatchResult[] = [];
    for (const [index, item] of items.entries()) {
      const result = await this.#asking(() => this.#keys.run(item), notDone);
      if (!result.ok) return result;
      meters[index]?.observe(result.value.elapsedNs / 1_000);
      results.push(result.value);
    }
    return ok(results);
  }

  /**
   * Runs one job at a time. A TPM that goes away refuses those that wait with it. `otherwise`: the result where a working TPM
   * refuses.
   */
  #asking<T>(ask: () => Promise<T>, otherwise: Refused): Promise<Result<T>> {
    const asked = this.#last.then(() => this.#ask(ask, otherwise));
    this.#last = asked.catch(() => {});
    return asked;
  }

  async #ask<T>(ask: () => Promise<T>, otherwise: Refused): Promise<Result<T>> {
    if (!this.#contact.up) return this.#unavailable();
    try {
      const answered = await ask();
      if (this.#contact.up) this.#contact.made();
      return ok(answered);
    } catch (cause) {
      if (!(cause instanceof TpmError)) throw cause;
      if (isTrouble(cause)) {
        this.#lose(cause);
        return this.#unavailable();
      }
      this.#tell('the TPM did not do what it was asked', cause.message);
      return otherwise;
    }
  }

  #unavailable() {
    return refuse('StoreUnavailable', 'the backend of this key does not answer', this.#retryMs);
  }

  #lose({ message }: TpmError): void {
    if (this.#contact.up) this.#retryMs = leastRetryMs;
    if (message === noAnswerInTime) this.#contact.timeouts++;
    this.#contact.lost(message);
    this.#schedule(this.#retryMs);
  }

  #schedule(inMs: number): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => void this.open(), inMs).unref();
  }

  async #look(): Promise<void> {
    try {
      this.#identity = await this.#device.use(readIdentity);
      this.#retryMs = leastRetryMs;
      this.#contact.made();
      this.#schedule(probeMs);
    } catch (cause) {
      if (!(cause instanceof TpmError)) throw cause;
      if (this.#contact.up) this.#retryMs = leastRetryMs;
      this.#contact.lost(cause.message);
      this.#schedule(this.#retryMs);
      this.#retryMs = Math.min(mostRetryMs, this.#retryMs * 2);
    }
  }
}
