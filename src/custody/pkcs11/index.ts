import { randomBytes } from 'node:crypto';
import type { Algorithm } from '../../algorithms/descriptor.ts';
import type { Ability } from '../../algorithms/ids.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { CryptoCall } from '../../dispatch/crypto-dispatch.ts';
import { buildKeyReference, partName } from '../../engine/key-reference.ts';
import type { PrivateParts, PrivateVersion } from '../../keys/keyring.ts';
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
  /** Told of what one key met with, for the operator's log. */
  readonly tell?: (what: string, reason: string) => void;
}

/** Milliseconds; longer than the worker's own limit for making a key, so that this one is only for a worker that hangs. */
const generationLimitMs = 34_000;
/** Jobs under way for each session: one that runs, and those that lie ready, so that answers come several to a message. */
const jobsPerSession = 4;
const nonceBytes = 16;
/** Keys that were made in vain while the token went away: some 100 bytes each. */
const maxLeftOver = 1_000;

/** Keys in one token behind a PKCS#11 module. It is there whether or not the token is: `contact` says which. */
export class Pkcs11Home implements Home, Custody, Carrier<CryptoCall> {
  readonly backend: string;
  /** The module says that its keys cannot leave the token; nobody proves it. */
  readonly attestationClass = 'pkcs11';
  readonly threads: number;
  readonly overtakes = false;
  readonly #connection: TokenConnection;
  readonly #tell: NonNullable<Pkcs11HomeOptions['tell']>;
  #jobs = 0;
  #leftOver: Uint8Array[] = [];

  constructor({ backend, tell = () => {}, ...options }: Pkcs11HomeOptions) {
    this.backend = backend;
    this.threads = options.settings.sessions;
    this.#connection = new TokenConnection(options);
    this.#tell = tell;
    this.contact.onChange(({ up }) => {
      if (up && this.#leftOver.length > 0) void this.#drop(this.#leftOver.splice(0));
    });
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

  async destroy(tenant: string, versions: readonly PrivateVersion[]): ReturnType<PrivateParts['destroy']> {
    const references = this.#referencesOf(tenant, versions);
    if (references.length === 0) return ok(undefined);
    const destroyed = await this.#connection.ask({ kind: 'destroy', references }, generationLimitMs);
    if (!destroyed.ok) return destroyed;
    if (destroyed.value.kind !== 'failed') return ok(undefined);
    this.#tell('the token did not destroy a key', destroyed.value.reason);
    return notDestroyed;
  }

  async discard(tenant: string, versions: readonly PrivateVersion[]): Promise<void> {
    await this.#drop(this.#referencesOf(tenant, versions));
  }

  #referencesOf(tenant: string, versions: readonly PrivateVersion[]): Uint8Array[] {
    return versions.flatMap(({ kid, parts }) =>
      parts.map((part, index) => this.keyReference(part, index, tenant, kid)),
    );
  }

  /** While the token is away they are kept, for when it is there again. */
  async #drop(references: readonly Uint8Array[]): Promise<void> {
    if (references.length === 0) return;
    const dropped = await this.#connection.ask({ kind: 'discard', references }, generationLimitMs);
    if (dropped.ok && dropped.value.kind === 'well') return;
    if (!dropped.ok && this.#leftOver.length + references.length <= maxLeftOver) {
      this.#leftOver.push(...references);
      return;
    }
    const reason = dropped.ok && dropped.value.kind === 'failed' ? dropped.value.reason : 'it is away';
    this.#tell('keys that are in no record are left in the token', reason);
  }

  async evidence(reference: Uint8Array): Promise<Result<TokenEvidence>> {
    const answered = await this.#connection.ask({ kind: 'evidence', reference });
    if (!answered.ok) return answered;
    const { opened } = this.#connection;
    if (answered.value.kind === 'failed')
      this.#tell('the token did not say what it knows of a key', answered.value.reason);
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
      const { ofKeys = [] } = answered.ok && answered.value.kind === 'ran' ? answered.value : {};
      for (const reason of ofKeys) this.#tell('the token does not do the work of a key', reason);
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
    if (!this.contact.up) return this.#connection.unavailable();
    const parts: KeyPart[] = [];
    const references: Uint8Array[] = [];
    for (const [index, { keyType }] of algorithm.components.entries()) {
      const sealed = handleOf(origin, randomBytes(nonceBytes));
      const reference = buildKeyReference(tenant, partName(versionedKid, index), sealed);
      references.push(reference);
      const made = await this.#connection.ask(askFor(keyType, reference), generationLimitMs);
      if (!made.ok || made.value.kind !== 'made') {
        // Those before it, and this one: it may be in the token although no answer came.
        const refused = made.ok && made.value.kind === 'not_made';
        void this.#drop(refused ? references.slice(0, -1) : references);
        return made.ok ? this.#refusalOf(made.value, origin) : made;
      }
      parts.push({ publicKey: made.value.publicKey, sealed });
    }
    return ok(parts);
  }

  #refusalOf(answered: Exclude<Answered, { kind: 'away' }>, origin: KeyOrigin): Refused {
    if (answered.kind === 'not_made') return refuse(answered.code, answered.hint);
    if (answered.kind !== 'failed') return refuse('Internal');
    this.#tell('the token did not make or take a key', answered.reason);
    return origin === 'adopted' ? notUsed : noKeyMade;
  }
}

const noKeyMade = refuse('StoreUnavailable', 'the token did not make the key; the log says why');
const notUsed = refuse('BadRequest', 'adopt: the token does not do the work of this key; the log says why');
const notDestroyed = refuse('StoreUnavailable', 'the token did not let go of the key; the log says why');

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
