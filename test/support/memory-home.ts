import {
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  timingSafeEqual,
} from 'node:crypto';
import type { Algorithm } from '../../src/algorithms/descriptor.ts';
import { systemClock } from '../../src/core/clock.ts';
import { ok, type Result, refuse } from '../../src/core/result.ts';
import type { Custody, Home, HomeContact, TokenEvidence } from '../../src/custody/custody.ts';
import type { CryptoCall } from '../../src/dispatch/crypto-dispatch.ts';
import { type BatchItem, type BatchResult, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { schemes } from '../../src/engine/engine.ts';
import { buildKeyReference, parseKeyReference } from '../../src/engine/key-reference.ts';
import type { PrivateParts } from '../../src/keys/keyring.ts';
import type { KeyPart } from '../../src/keys/record.ts';
import type { Carrier } from '../../src/queue/lane.ts';

/** Bytes of the handles that records keep: they name a key in the home, and are no secret. */
const handleBytes = 16;

interface OwnKey {
  readonly tenant: string;
  /** The versioned kid and the place among its parts. */
  readonly name: string;
  readonly secret: KeyObject | Buffer;
}

/** The way to a home in memory, which a test cuts and mends. */
export class MemoryContact implements HomeContact {
  up = true;
  lastContactAtMs = systemClock.monotonicMs();
  trying = false;
  timeouts = 0;
  readonly #listeners: ((contact: HomeContact) => void)[] = [];

  onChange(listener: (contact: HomeContact) => void): void {
    this.#listeners.push(listener);
  }

  /** `agoMs`: since the last contact. */
  set(up: boolean, agoMs = 0): void {
    this.up = up;
    this.lastContactAtMs = systemClock.monotonicMs() - agoMs;
    for (const listener of this.#listeners) listener(this);
  }
}

/** A home that keeps its keys itself, as a token does: records have handles only. For Ed25519 and HMAC-SHA-256. */
export class MemoryHome implements Home, Custody, Carrier<CryptoCall> {
  readonly backend: string;
  readonly attestationClass = 'test';
  readonly threads = 1;
  readonly overtakes = false;
  /** Calls that it was given, in order. */
  readonly carried: CryptoCall[] = [];
  readonly forgotten: number[] = [];
  /** Waited for before a job is done: a slow token. */
  beforeJob: (() => Promise<void>) | undefined;
  /** Absent: it cannot be away. */
  readonly contact?: MemoryContact;
  readonly #keys: Map<string, OwnKey>;
  #jobs = 0;

  /** `twin`: a home that has the very same keys. */
  constructor(backend: string, { contact, twin }: { contact?: MemoryContact; twin?: MemoryHome } = {}) {
    this.backend = backend;
    this.#keys = twin === undefined ? new Map() : twin.#keys;
    if (contact !== undefined) this.contact = contact;
  }

  get custody(): Custody {
    return this;
  }

  get carrier(): Carrier<CryptoCall> {
    return this;
  }

  /** The number of keys that it has. */
  get keys(): number {
    return this.#keys.size;
  }

  get freeSlots(): number {
    return 1 - this.#jobs;
  }

  get idleThreads(): number {
    return 1 - this.#jobs;
  }

  forget(keyNumber: number): void {
    this.forgotten.push(keyNumber);
  }

  async close(): Promise<void> {
    this.#keys.clear();
  }

  holds({ name }: Algorithm): boolean {
    return name === 'ed25519' || name === 'hmac-sha256';
  }

  async generate(
    ...[algorithm, tenant, kid]: Parameters<PrivateParts['generate']>
  ): ReturnType<PrivateParts['generate']> {
    if (!this.holds(algorithm)) return refuse('Unsupported');
    const secret = algorithm.kind === 'mac' ? randomBytes(32) : generateKeyPairSync('ed25519').privateKey;
    const handle = randomBytes(handleBytes);
    this.#keys.set(handle.toString('hex'), { tenant, name: `${kid}/0`, secret });
    return ok([{ publicKey: publicKeyOf(secret), sealed: handle }]);
  }

  keyReference(...[part, index, tenant, kid]: Parameters<PrivateParts['keyReference']>): Uint8Array {
    return part.sealed === undefined
      ? new Uint8Array(0)
      : buildKeyReference(tenant, `${kid}/${index}`, part.sealed);
  }

  async destroy(...[, versions]: Parameters<PrivateParts['destroy']>): ReturnType<PrivateParts['destroy']> {
    for (const { sealed } of versions.flatMap(({ parts }) => parts))
      if (sealed !== undefined) this.#keys.delete(Buffer.from(sealed).toString('hex'));
    return ok(undefined);
  }

  /** Waited for before the token tells of itself; undefined: it tells nothing. */
  beforeEvidence: (() => Promise<void>) | undefined = async () => {};
  /** Times that it was asked for. */
  evidenceAsked = 0;

  async evidence(keyReference: Uint8Array): Promise<Result<TokenEvidence>> {
    this.evidenceAsked++;
    if (this.beforeEvidence === undefined) return refuse('AttestationMissing');
    await this.beforeEvidence();
    if (this.#find(keyReference) === undefined) return refuse('AttestationMissing');
    const token = {
      label: 'test',
      manufacturer: 'Intaglio',
      model: 'memory',
      serial: '0001',
      firmware: '1.2',
    };
    const never = { extractable: false, neverExtractable: true };
    const key = { local: true, sensitive: true, alwaysSensitive: true, ...never };
    return ok({ backend: this.backend, token, key, asOfMs: Date.now() });
  }

  /** Under each of their names, a key that was made here. */
  takeOtherKeysOf(other: MemoryHome): void {
    for (const [handle, key] of other.#keys)
      this.#keys.set(handle, { ...key, secret: generateKeyPairSync('ed25519').privateKey });
  }

  carry(calls: CryptoCall[]): Promise<undefined> {
    this.#jobs++;
    return this.#work(calls);
  }

  privateNumbers({ sealed }: KeyPart): readonly Uint8Array[] {
    const key = this.#keys.get(Buffer.from(sealed ?? []).toString('hex'));
    if (key === undefined) return [];
    return [Buffer.isBuffer(key.secret) ? key.secret : key.secret.export({ format: 'raw-private' })];
  }

  async #work(calls: readonly CryptoCall[]): Promise<undefined> {
    await this.beforeJob?.();
    for (const call of calls) {
      this.carried.push(call);
      call.settle(ok(call.items.map((item) => this.#run(item))));
    }
    this.#jobs--;
  }

  #run({ op, scheme, key, inputs }: BatchItem): BatchResult {
    const own = this.#find(key);
    const secret = own?.secret;
    const answer = (status: BatchResult['status'], ...outputs: Uint8Array[]) => ({
      status,
      outputs,
      elapsedNs: 1,
    });
    const [message, tag] = inputs as [Uint8Array, Uint8Array];
    if (secret === undefined) return answer(batchStatuses.keyUnusable);
    if (op === batchOps.sign && scheme === schemes.ed25519 && !Buffer.isBuffer(secret))
      return answer(batchStatuses.ok, sign(null, message, secret));
    if (scheme !== schemes['hmac-sha256'] || !Buffer.isBuffer(secret))
      return answer(batchStatuses.keyUnusable);
    const own32 = createHmac('sha256', secret).update(message).digest();
    if (op === batchOps.mac) return answer(batchStatuses.ok, own32);
    const good = op === batchOps.verifyMac && tag.length === own32.length && timingSafeEqual(own32, tag);
    return answer(good ? batchStatuses.ok : batchStatuses.rejected);
  }

  #find(reference: Uint8Array): OwnKey | undefined {
    const parsed = parseKeyReference(reference);
    const key = parsed && this.#keys.get(Buffer.from(parsed.sealed).toString('hex'));
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
    return key && text(parsed.tenant) === key.tenant && text(parsed.aad) === key.name ? key : undefined;
  }
}

function publicKeyOf(secret: KeyObject | Buffer): Uint8Array {
  return Buffer.isBuffer(secret)
    ? new Uint8Array(0)
    : createPublicKey(secret).export({ format: 'raw-public' });
}
