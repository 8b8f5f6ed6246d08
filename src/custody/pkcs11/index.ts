import { randomBytes } from 'node:crypto';
import type { Algorithm } from '../../algorithms/descriptor.ts';
import type { Ability } from '../../algorithms/ids.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { CryptoCall } from '../../dispatch/crypto-dispatch.ts';
import { buildKeyReference, partName } from '../../engine/key-reference.ts';
import type { PrivateParts } from '../../keys/keyring.ts';
import type { KeyPart, TokenKeyName } from '../../keys/record.ts';
import type { Carrier, JobEnd } from '../../queue/lane.ts';
import type { Custody, Home, HomeContact, TokenEvidence } from '../custody.ts';
import { type ConnectionOptions, TokenConnection } from './connection.ts';
import { handleOf, type KeyOrigin } from './key-name.ts';
import type { Answered, Asked, CallAnswer } from './protocol.ts';
import { keeps, tokenKeyKinds } from './schemes.ts';

export interface Pkcs11HomeOptions extends ConnectionOptions {
  /** Its name in records and requests. */
  readonly backend: string;
}

/** Milliseconds; longer than the worker's own limit for making a key, so that this one is only for a worker that hangs. */
const generationLimitMs = 34_000;
/** Jobs under way for each session: one that runs, and those that lie ready, so that answers come several to a message. */
const jobsPerSession = 4;
const nonceBytes = 16;

/** Keys in one token behind a PKCS#11 module. It is there whether or not the token is: `contact` says which. */
export class Pkcs11Home implements Home, Custody, Carrier<CryptoCall> {
  readonly backend: string;
  /** The module says that its keys cannot leave the token; nobody proves it. */
  readonly attestationClass = 'pkcs11';
  readonly threads: number;
  readonly overtakes = false;
  readonly #connection: TokenConnection;
  #jobs = 0;

  constructor({ backend, ...options }: Pkcs11HomeOptions) {
    this.backend = backend;
    this.threads = options.settings.sessions;
    this.#connection = new TokenConnection(options);
  }

  get custody(): Custody {
    return this;
  }

  get carrier(): Carrier<CryptoCall> {
    return this;
  }

  get contact(): HomeContact {
    return this.#connection.contact;
  }

  /** Until the token has been open once, as little as any token does. */
  get lacks(): ReadonlySet<Ability> {
    return this.#connection.abilities.lacks;
  }

  /** Tries once to open the token. What is missing is tried again, and said by `contact`. */
  open(): Promise<void> {
    return this.#connection.open();
  }

  /** An operator asks for a PIN that was refused to be tried again. */
  retryPin(): void {
    this.#connection.retryPin();
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  /** Handles are cached by the key itself, and go with the token. */
  forget(): void {}

  /** All that tokens can, until it has been open once: the making then says that it is away. */
  holds({ components }: Algorithm): boolean {
    const { listed } = this.#connection.abilities;
    return components.every(({ keyType }) =>
      listed === undefined ? tokenKeyKinds[keyType] !== undefined : keeps(listed, keyType),
    );
  }

  generate(algorithm: Algorithm, tenant: string, versionedKid: string): ReturnType<PrivateParts['generate']> {
    return this.#make(algorithm, tenant, versionedKid, 'made', (keyType, reference) => ({
      ...{ kind: 'generate', keyType, reference },
    }));
  }

  adopt(
    algorithm: Algorithm,
    tenant: string,
    versionedKid: string,
    key: TokenKeyName,
  ): Promise<Result<readonly KeyPart[]>> {
    return this.#make(algorithm, tenant, versionedKid, 'adopted', (keyType, reference) => ({
      ...{ kind: 'adopt', keyType, reference, key },
    }));
  }

  keyReference({ sealed }: KeyPart, partIndex: number, tenant: string, versionedKid: string): Uint8Array {
    return sealed === undefined
      ? new Uint8Array(0)
      : buildKeyReference(tenant, partName(versionedKid, partIndex), sealed);
  }

  async destroy(
    tenant: string,
    versions: Parameters<PrivateParts['destroy']>[1],
  ): ReturnType<PrivateParts['destroy']> {
    const references = versions.flatMap(({ kid, parts }) =>
      parts.map((part, index) => this.keyReference(part, index, tenant, kid)),
    );
    if (references.length === 0) return ok(undefined);
    const destroyed = await this.#connection.ask({ kind: 'destroy', references }, generationLimitMs);
    return destroyed.ok ? ok(undefined) : destroyed;
  }

  async evidence(reference: Uint8Array): Promise<Result<TokenEvidence>> {
    const answered = await this.#connection.ask({ kind: 'evidence', reference });
    if (!answered.ok) return answered;
    const { opened } = this.#connection;
    if (answered.value.kind !== 'evidence' || opened === undefined)
      return refuse('AttestationMissing', 'the token has no such key');
    const { key, asOfMs } = answered.value;
    return ok({ backend: this.backend, token: opened.token, key, asOfMs });
  }

  get freeSlots(): number {
    // Away: calls are taken, to be refused.
    return Math.max(0, jobsPerSession * this.threads - this.#jobs);
  }

  get idleThreads(): number {
    return Math.max(0, this.threads - this.#jobs);
  }

  async carry(calls: CryptoCall[]): Promise<JobEnd | undefined> {
    this.#jobs++;
    try {
      const asked = { kind: 'run', calls: calls.map(({ items }) => items.map(plainItem)) } as const;
      const answered = await this.#connection.ask(asked);
      for (const [index, call] of calls.entries()) call.settle(outcomeOf(answered, index, call));
    } finally {
      this.#jobs--;
    }
    return undefined;
  }

  async #make(
    algorithm: Algorithm,
    tenant: string,
    versionedKid: string,
    origin: KeyOrigin,
    askFor: (keyType: Algorithm['components'][number]['keyType'], reference: Uint8Array) => Asked,
  ): Promise<Result<readonly KeyPart[]>> {
    if (!this.holds(algorithm)) return refuse('Unsupported', 'this backend holds no keys of this alg');
    if (origin === 'adopted' && algorithm.components.length > 1)
      return refuse('Unsupported', 'adopt: a key of this alg is two keys');
    const parts: KeyPart[] = [];
    for (const [index, { keyType }] of algorithm.components.entries()) {
      const sealed = handleOf(origin, randomBytes(nonceBytes));
      const reference = buildKeyReference(tenant, partName(versionedKid, index), sealed);
      const made = await this.#connection.ask(askFor(keyType, reference), generationLimitMs);
      if (!made.ok) return made;
      if (made.value.kind === 'not_made') return refuse(made.value.code, made.value.hint);
      if (made.value.kind !== 'made') return refuse('Internal');
      parts.push({ publicKey: made.value.publicKey, sealed });
    }
    return ok(parts);
  }
}

function plainItem({ op, scheme, keyNumber, key, inputs }: CryptoCall['items'][number]) {
  return { op, scheme, keyNumber, key, inputs };
}

function outcomeOf(
  answered: Result<Exclude<Answered, { kind: 'away' }>>,
  index: number,
  { meters }: CryptoCall,
): Parameters<CryptoCall['settle']>[0] {
  if (!answered.ok) return answered;
  const own: CallAnswer | undefined = answered.value.kind === 'ran' ? answered.value.calls[index] : undefined;
  if (own === undefined) return refuse('Internal');
  if ('kind' in own) return refuse('StoreUnavailable', 'the backend of this key does not answer');
  for (const [item, { elapsedNs }] of own.entries()) meters[item]?.observe(elapsedNs / 1_000);
  return ok(own);
}
