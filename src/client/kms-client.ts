import { randomUUID } from 'node:crypto';
import type {
  BatchResult,
  EncryptAnswer,
  KeyDetails,
  KeyListing,
  KeyMade,
  LoadAnswer,
  OpenedAnswer,
  SealedAnswer,
  SignAnswer,
  VerifyAnswer,
  WrapAnswer,
  WrappingKey,
} from './answers.ts';
import type { KeyEvidence } from './attestation.ts';
import { fromBase64, toBase64, toBase64Url } from './bytes.ts';
import { errorOf } from './errors.ts';
import { Gatherer } from './gather.ts';
import type { PublicKey, Signature, SignedText } from './local-verification.ts';
import { PublicKeys } from './public-keys.ts';
import { withRetries } from './retry.ts';
import { type SignedInput, signedMembers } from './signed-input.ts';
import { readAnswer, Transport, type TransportOptions } from './transport.ts';

export interface KmsClientOptions extends TransportOptions {
  /** The capability, or where to get it each time: one that expires is renewed so. */
  readonly token: string | (() => string | Promise<string>);
  /** Milliseconds for a call with all its attempts; the service is told what is left of it. */
  readonly deadlineMs?: number;
  /** Attempts beyond the first. */
  readonly retries?: number;
  /** Milliseconds for which sign, verify, encrypt and decrypt calls are gathered into batches; 0, the default: not at all. */
  readonly gatherMs?: number;
}

export interface CallOptions {
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface ChangeOptions extends CallOptions {
  /** UUID that names the change, so that a repeated one is done once. Made when it is not given. */
  readonly opId?: string;
}

export type SignRequest = SignedInput & {
  /** One key, or several that sign together. */
  readonly kid: string | readonly string[];
  readonly alg?: string;
  readonly mode?: HybridMode;
  readonly receipt?: boolean;
};

export type VerifyRequest = SignedInput & {
  readonly sigs: readonly Signature[];
  readonly mode?: HybridMode;
};

export type HybridMode = 'or' | 'and' | 'pq_only';

const usualDeadlineMs = 10_000;
/** The service makes an RSA-4096 key within seconds, on a busy machine within half a minute. */
const wrappingKeyDeadlineMs = 60_000;
const usualRetries = 3;

/** The longest that a service takes as X-Deadline-Ms. */
const maxWishMs = 60_000;

type Gathered = 'sign' | 'verify' | 'encrypt' | 'decrypt';

/** One service, under one capability. Calls throw KmsError where they are refused, UnreachableError where no answer came. */
export class KmsClient {
  readonly #transport: Transport;
  readonly #options: KmsClientOptions;
  readonly #keys = new PublicKeys((kid) => this.getKey(kid));
  readonly #gatherers: Readonly<Record<Gathered, Gatherer>> | undefined;

  constructor(options: KmsClientOptions) {
    this.#options = options;
    this.#transport = new Transport(options);
    const { gatherMs = 0 } = options;
    const gatherer = (name: Gathered) =>
      new Gatherer(gatherMs, (items, deadlineAtMs) =>
        this.#attempt(`/v1/kms/${name}/batch`, { items }, deadlineAtMs, undefined),
      );
    if (gatherMs > 0) {
      this.#gatherers = {
        ...{ sign: gatherer('sign'), verify: gatherer('verify') },
        ...{ encrypt: gatherer('encrypt'), decrypt: gatherer('decrypt') },
      };
    }
  }

  /** Ends the connections, and what is under way on them. */
  close(): Promise<void> {
    return this.#transport.close();
  }

  createKey(
    key: { readonly purpose: string; readonly alg: string; readonly usages?: readonly string[] },
    options: ChangeOptions = {},
  ): Promise<KeyMade> {
    const { purpose, alg, usages } = key;
    const policy = usages === undefined ? undefined : { usages };
    return this.#change('/v1/kms/keys', { purpose, alg, policy }, options);
  }

  /** Of a kid with `#vN` only that version. */
  getKey(kid: string, options: CallOptions = {}): Promise<KeyDetails> {
    return this.call(keyPath(kid), undefined, options);
  }

  /** All keys of the tenant, page by page as they are asked for. */
  async *listKeys(
    filter: { readonly purpose?: string; readonly alg?: string } = {},
    options: CallOptions = {},
  ): AsyncGenerator<KeyListing> {
    let cursor: string | undefined;
    do {
      const given = Object.entries({ ...filter, cursor, limit: '1000' });
      const query = given.filter((entry): entry is [string, string] => entry[1] !== undefined);
      const path = `/v1/kms/keys?${query.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')}`;
      const page: { keys: KeyListing[]; next_cursor?: string } = await this.call(path, undefined, options);
      yield* page.keys;
      cursor = page.next_cursor;
    } while (cursor !== undefined);
  }

  rotateKey(kid: string, options: ChangeOptions = {}): Promise<KeyMade> {
    return this.#change(`${keyPath(kid)}/rotate`, {}, options);
  }

  /** The whole key, or one version of it. */
  destroyKey(
    kid: string,
    { version, ...options }: ChangeOptions & { readonly version?: number } = {},
  ): Promise<{ readonly kid: string; readonly state: string }> {
    return this.#change(`${keyPath(kid)}/destroy`, { version }, options);
  }

  /** A public key of the service to wrap key material with, for an hour at most. The first of `rsa-4096` takes seconds. */
  wrappingKey(
    alg: 'x25519+ml-kem-768' | 'rsa-4096' = 'x25519+ml-kem-768',
    options: CallOptions = {},
  ): Promise<WrappingKey> {
    const path = `/v1/kms/keys/import/wrapping-key?alg=${encodeURIComponent(alg)}`;
    const { deadlineMs = alg === 'rsa-4096' ? wrappingKeyDeadlineMs : usualDeadlineMs } = this.#options;
    return this.call(path, undefined, { deadlineMs, ...options });
  }

  /** Material that was wrapped with `wrappingKey()`, or a public key alone; with `kid` as the next version of that key. */
  importKey(
    key: ({ readonly kid: string } | { readonly purpose: string; readonly alg: string }) &
      ({ readonly wrappingKeyId: string; readonly material: Uint8Array } | { readonly spki: Uint8Array }),
    options: ChangeOptions = {},
  ): Promise<KeyMade> {
    const brought =
      'spki' in key
        ? { spki_b64: toBase64(key.spki) }
        : { wrapping_key_id: key.wrappingKeyId, material_b64: toBase64(key.material) };
    if ('kid' in key) return this.#change(`${keyPath(key.kid)}/import`, brought, options);
    const { purpose, alg } = key;
    return this.#change('/v1/kms/keys/import', { purpose, alg, ...brought }, options);
  }

  /**
   * A secret of this process: PKCS#8 (DER) of RSA and ECDSA keys, raw bytes or PKCS#8 of others. It is wrapped here for the service
   * alone, RSAES-OAEP around AES-KWP (RFC 5649).
   */
  async importSecret(
    key: { readonly kid: string } | { readonly purpose: string; readonly alg: string },
    secret: Uint8Array,
    options: ChangeOptions = {},
  ): Promise<KeyMade> {
    const [{ wrapMaterial }, wrapping] = await Promise.all([
      import('./wrap-material.ts'),
      this.wrappingKey('rsa-4096', options),
    ]);
    const material = wrapMaterial(fromBase64(wrapping.public.spki_b64 ?? ''), secret);
    return this.importKey({ ...key, wrappingKeyId: wrapping.wrapping_key_id, material }, options);
  }

  async sign(request: SignRequest, options: CallOptions = {}): Promise<SignAnswer> {
    const { kid, alg, mode, receipt } = request;
    const members = await signedMembers(request, kid, (one) => this.#keys.get(one));
    const body = {
      ...(typeof kid === 'string' ? { kid: members.kid ?? kid } : { kid_set: kid }),
      ...{ ...members.body, alg, receipt },
      policy: mode === undefined ? undefined : { mode },
    };
    return this.#gathered('sign', body, options);
  }

  /** By the service, which knows its policy and which versions are destroyed. */
  async verify(request: VerifyRequest, options: CallOptions = {}): Promise<VerifyAnswer> {
    const { sigs, mode } = request;
    const kids = sigs.map(({ kid }) => kid);
    const kid = kids.length === 1 ? (kids[0] as string) : kids;
    const members = await signedMembers(request, kid, (one) => this.#keys.get(one));
    const policy = mode === undefined ? undefined : { mode };
    return this.#gathered('verify', { ...members.body, sigs, policy }, options);
  }

  /**
   * By this process, with public keys of the service that are kept for `maxAgeMs`: all signatures have to be valid, of a hybrid key
   * both parts. Knows neither the service's policy nor, within that time, of a key that was destroyed.
   */
  async verifyLocally(
    signed: SignedInput,
    sigs: readonly Signature[],
    { maxAgeMs = 300_000 }: { readonly maxAgeMs?: number } = {},
  ): Promise<boolean> {
    const [{ verifySignatures }, text] = await Promise.all([
      import('./local-verification.ts'),
      signedText(signed),
    ]);
    const keys = new Map<string, PublicKey | undefined>();
    for (const kid of new Set(sigs.map((sig) => sig.kid))) keys.set(kid, await this.#keys.get(kid, maxAgeMs));
    return verifySignatures(text, sigs, (kid) => keys.get(kid));
  }

  /**
   * Evidence of where a key is. With a nonce of 8 to 64 bytes it is made for this call; without one it may be minutes old. Check it
   * with `verifyAttestation`.
   */
  attest(
    kid: string,
    { nonce, ...options }: CallOptions & { readonly nonce?: Uint8Array } = {},
  ): Promise<KeyEvidence> {
    const given = nonce === undefined ? '' : `&nonce=${toBase64Url(nonce)}`;
    return this.call(`/v1/kms/attest?kid=${encodeURIComponent(kid)}${given}`, undefined, options);
  }

  async mac(kid: string, message: Uint8Array, options: CallOptions = {}): Promise<Uint8Array> {
    const body = { kid, message_b64: toBase64(message) };
    const { mac_b64 } = await this.call<{ mac_b64: string }>('/v1/kms/mac', body, options);
    return fromBase64(mac_b64);
  }

  async verifyMac(
    kid: string,
    message: Uint8Array,
    mac: Uint8Array,
    options: CallOptions = {},
  ): Promise<boolean> {
    const body = { kid, message_b64: toBase64(message), mac_b64: toBase64(mac) };
    return (await this.call<{ ok: boolean }>('/v1/kms/mac/verify', body, options)).ok;
  }

  encrypt(
    kid: string,
    plaintext: Uint8Array,
    { aad, ...options }: CallOptions & { readonly aad?: Uint8Array } = {},
  ): Promise<EncryptAnswer> {
    return this.#gathered('encrypt', { kid, plaintext_b64: toBase64(plaintext), ...aadMember(aad) }, options);
  }

  async decrypt(
    { kid, nonce_b64, ciphertext_b64 }: EncryptAnswer,
    { aad, ...options }: CallOptions & { readonly aad?: Uint8Array } = {},
  ): Promise<Uint8Array> {
    const body = { kid, nonce_b64, ciphertext_b64, ...aadMember(aad) };
    return fromBase64((await this.#gathered<OpenedAnswer>('decrypt', body, options)).plaintext_b64);
  }

  /** Wraps a key, or with a number a new one of so many bytes, which nobody is told. */
  wrap(
    kid: string,
    key: Uint8Array | 16 | 32 | 64,
    { aad, ...options }: CallOptions & { readonly aad?: Uint8Array } = {},
  ): Promise<WrapAnswer> {
    const given = typeof key === 'number' ? { size: key } : { plaintext_b64: toBase64(key) };
    return this.call('/v1/kms/wrap', { kid, ...given, ...aadMember(aad) }, options);
  }

  async unwrap(
    { kid, wrapped_b64 }: WrapAnswer,
    { aad, ...options }: CallOptions & { readonly aad?: Uint8Array } = {},
  ): Promise<Uint8Array> {
    const body = { kid, wrapped_b64, ...aadMember(aad) };
    return fromBase64((await this.call<OpenedAnswer>('/v1/kms/unwrap', body, options)).plaintext_b64);
  }

  /** To the current version of the key, in the form in which it came. */
  rewrap<A extends WrapAnswer | EncryptAnswer>(
    old: A,
    { aad, ...options }: CallOptions & { readonly aad?: Uint8Array } = {},
  ): Promise<A> {
    return this.call('/v1/kms/rewrap', { ...old, ...aadMember(aad) }, options);
  }

  /** A new key, wrapped and in plain. */
  dataKey(
    kid: string,
    size: 16 | 32 | 64 = 32,
    { aad, ...options }: CallOptions & { readonly aad?: Uint8Array } = {},
  ): Promise<WrapAnswer & OpenedAnswer> {
    return this.call('/v1/kms/datakey', { kid, size, plaintext: true, ...aadMember(aad) }, options);
  }

  /** The same input gives the same key. */
  derive(
    kid: string,
    alg: string,
    context: { readonly origin: string; readonly instance: string; readonly epoch: number },
    options: CallOptions = {},
  ): Promise<KeyMade> {
    return this.call('/v1/kms/derive', { kid, alg, context }, options);
  }

  seal(
    purpose: string,
    plaintext: Uint8Array,
    { aad, ...options }: CallOptions & { readonly aad?: Uint8Array } = {},
  ): Promise<SealedAnswer> {
    return this.call(
      '/v1/kms/seal',
      { purpose, plaintext_b64: toBase64(plaintext), ...aadMember(aad) },
      options,
    );
  }

  async unseal(
    { sealed_b64 }: SealedAnswer,
    { aad, ...options }: CallOptions & { readonly aad?: Uint8Array } = {},
  ): Promise<Uint8Array> {
    const body = { sealed_b64, ...aadMember(aad) };
    return fromBase64((await this.call<OpenedAnswer>('/v1/kms/unseal', body, options)).plaintext_b64);
  }

  async random(size: number, options: CallOptions = {}): Promise<Uint8Array> {
    return fromBase64(
      (await this.call<{ random_b64: string }>('/v1/kms/random', { size }, options)).random_b64,
    );
  }

  load(options: CallOptions = {}): Promise<LoadAnswer> {
    return this.call('/v1/kms/admin/load', undefined, options);
  }

  /** Many sign or verify requests in the words of the API, each with its own answer or error, in their order. */
  async batch<A>(
    operation: Gathered,
    items: readonly object[],
    options: CallOptions = {},
  ): Promise<readonly BatchResult<A>[]> {
    const { results } = await this.call<{ results: object[] }>(
      `/v1/kms/${operation}/batch`,
      { items },
      options,
    );
    return results.map((result) =>
      'error' in result ? { ok: false, error: errorOf(result) } : { ok: true, value: result as A },
    );
  }

  /** Any route that may be repeated: POST with a body, GET without one. */
  call<A>(path: string, body: unknown, options: CallOptions = {}): Promise<A> {
    const deadlineAtMs = this.#deadlineAtMs(options);
    return withRetries(this.#retries(deadlineAtMs, options), () =>
      this.#attempt(path, body, deadlineAtMs, options.signal),
    ) as Promise<A>;
  }

  #change<A>(path: string, body: object, { opId = randomUUID(), ...options }: ChangeOptions): Promise<A> {
    return this.call(path, { ...body, op_id: opId }, options);
  }

  #gathered<A>(name: Gathered, body: object, options: CallOptions): Promise<A> {
    const gatherer = this.#gatherers?.[name];
    if (gatherer === undefined) return this.call(`/v1/kms/${name}`, body, options);
    const deadlineAtMs = this.#deadlineAtMs(options);
    return withRetries(this.#retries(deadlineAtMs, options), () =>
      gatherer.add(body, deadlineAtMs),
    ) as Promise<A>;
  }

  #deadlineAtMs({ deadlineMs = this.#options.deadlineMs ?? usualDeadlineMs }: CallOptions): number {
    return performance.now() + deadlineMs;
  }

  #retries(deadlineAtMs: number, { signal }: CallOptions) {
    return { retries: this.#options.retries ?? usualRetries, deadlineAtMs, signal };
  }

  async #attempt(
    path: string,
    body: unknown,
    deadlineAtMs: number,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const { token: given } = this.#options;
    const token = typeof given === 'string' ? given : await given();
    const timeoutMs = Math.max(1, Math.floor(deadlineAtMs - performance.now()));
    // The service says in time that it cannot.
    const wishMs = Math.max(1, Math.floor(timeoutMs - Math.min(20, timeoutMs / 10)));
    const headers = {
      authorization: `Bearer ${token}`,
      'x-deadline-ms': String(Math.min(wishMs, maxWishMs)),
    };
    return readAnswer(await this.#transport.ask({ path, headers, body, timeoutMs, signal }));
  }
}

function keyPath(kid: string): string {
  return `/v1/kms/keys/${encodeURIComponent(kid)}`;
}

function aadMember(aad: Uint8Array | undefined): { readonly aad_b64?: string } {
  return aad === undefined ? {} : { aad_b64: toBase64(aad) };
}

async function signedText(signed: SignedInput): Promise<SignedText> {
  const context = signed.context === undefined ? {} : { context: signed.context };
  if (signed.message !== undefined) {
    const { wholeOf } = await import('./signed-input.ts');
    return { message: await wholeOf(signed.message), ...context };
  }
  const { body } = await signedMembers(signed, [], async () => undefined);
  return { payloadB3: body.payload_b3 as string, ...context };
}
