import type { Jwk, PublicFormat } from '../algorithms/public-formats.ts';
import { publicFormats } from '../algorithms/public-formats.ts';
import { type Cancellation, cancel, createCancellation } from '../core/cancellation.ts';
import { failure } from '../core/failure.ts';
import { peerAt } from '../core/peer.ts';
import { ok, type Result } from '../core/result.ts';
import { type Caller, scopes } from '../core/scope.ts';
import type { KeyMade } from '../keys/keyring.ts';
import { formatKid } from '../keys/kid.ts';
import type { KeyHead } from '../keys/record.ts';
import type { Operation } from '../operations/operation.ts';
import type { Operations } from '../operations/operations.ts';
import type { RequestPath } from '../request-path.ts';
import { bytes, choice, members, optionalBytes, optionalInteger, text } from './arguments.ts';
import { KmsError } from './errors.ts';
import type { OpenedLibrary } from './open.ts';
import {
  changeNamed,
  createRequest,
  type ListWish,
  listRequest,
  type NewKeyWish,
  type SignWish,
  signRequest,
  type VerifyWish,
  verifyRequest,
} from './requests.ts';

/** Terms of one call. */
export interface CallOptions {
  /** Milliseconds; 5,000 where it is absent, 60,000 at most. */
  readonly deadlineMs?: number;
  /** Ends the waiting: what has begun may be done all the same. */
  readonly signal?: AbortSignal;
}

export interface MadeKey {
  /** With its version. */
  readonly kid: string;
  /** The version that was current before, of a rotation. */
  readonly previous: string | undefined;
  readonly alg: string;
  readonly createdAt: Date;
  /** One for each component of the algorithm; none of a secret key. */
  readonly publicKeys: readonly Uint8Array[];
}

export interface ListedKey {
  readonly kid: string;
  readonly alg: string;
  readonly purpose: string;
  readonly state: 'active' | 'destroyed';
  readonly currentVersion: number;
  readonly createdAt: Date;
}

export interface ShownKey extends ListedKey {
  readonly backend: string;
  /** The newest first. */
  readonly versions: readonly {
    readonly kid: string;
    readonly version: number;
    readonly state: 'active' | 'destroyed';
    readonly createdAt: Date;
    readonly publicKeys: readonly Uint8Array[];
  }[];
}

export interface MadeSignatures {
  readonly kid: string;
  readonly signatures: readonly {
    readonly kid: string;
    readonly alg: string;
    readonly signature: Uint8Array;
  }[];
  /** Where the uses stand on the audit log; none where no log is kept. */
  readonly receipts: readonly { readonly kid: string; readonly index: number; readonly seq: number }[];
}

export interface SignaturesChecked {
  readonly valid: boolean;
  /** The strictest mode that the signatures satisfy. */
  readonly satisfiedMode: string;
  readonly checked: readonly {
    readonly kid: string;
    readonly alg: string;
    readonly valid: boolean;
    readonly reason: string | undefined;
  }[];
}

export interface Ciphertext {
  /** Names the version that encrypted; give it back to decrypt. */
  readonly kid: string;
  readonly nonce: Uint8Array;
  /** With its tag. */
  readonly ciphertext: Uint8Array;
}

export interface WrappedKey {
  readonly kid: string;
  readonly wrapped: Uint8Array;
}

const none = new Uint8Array();

/** The keys of one tenant. Bytes are copied into and out of it; no method gives a private or secret key. */
export class TenantKms {
  readonly tenant: string;
  readonly #opened: OpenedLibrary;
  readonly #path: RequestPath;

  constructor(opened: OpenedLibrary, tenant: string) {
    this.tenant = tenant;
    this.#opened = opened;
    const caller: Caller = { tenant, actor: 'library', scopes: new Set(scopes) };
    this.#path = opened.service.requestPathFor({ authenticate: () => ok(caller) });
  }

  /** Makes a key with version 1. */
  async createKey(options: NewKeyWish, call?: CallOptions): Promise<MadeKey> {
    return madeKey(await this.#run('create', createRequest(options), call));
  }

  /** Lists keys, a page at a time. */
  async keys(
    options: ListWish = {},
    call?: CallOptions,
  ): Promise<{ readonly keys: readonly ListedKey[]; readonly nextCursor?: string }> {
    const { keys, nextCursor } = await this.#run('list', listRequest(options), call);
    const listed = keys.map(listedKey);
    return nextCursor === undefined ? { keys: listed } : { keys: listed, nextCursor };
  }

  /** One key and its versions with their public parts. */
  async key(kid: string, call?: CallOptions): Promise<ShownKey> {
    const { head, versions } = await this.#run('read', { kid: text('kid', kid) }, call);
    return {
      ...listedKey(head),
      backend: head.backend,
      versions: versions.map((each) => ({
        ...{ kid: each.kid, version: each.version, state: each.state, createdAt: new Date(each.createdAtMs) },
        publicKeys: each.publicKeys.map(copied),
      })),
    };
  }

  /** The public key in a standard format. Unsupported where the algorithm has none. */
  async publicKey(kid: string, format: PublicFormat, call?: CallOptions): Promise<Uint8Array> {
    const request = { kid: text('kid', kid), format: choice('format', format, publicFormats) };
    const { encoded } = await this.#run('read', request, call);
    if (encoded === undefined) throw new KmsError(failure('BadRequest', 'format is missing'));
    return copied(encoded.bytes);
  }

  /** The public keys as a JSON Web Key Set (RFC 7517), newest first, 500 at most. */
  async jwks(call?: CallOptions): Promise<{ readonly keys: readonly Jwk[] }> {
    return { keys: await this.#run('jwks', {}, call) };
  }

  /** Makes the next version; versions before go on verifying, decrypting and unwrapping. */
  async rotate(kid: string, options: { readonly opId?: string } = {}, call?: CallOptions): Promise<MadeKey> {
    const name = changeNamed(options);
    return madeKey(await this.#run('rotate', { kid: text('kid', kid), name }, call));
  }

  /** Destroys a key, or with a version in the kid that version, for good. */
  async destroy(kid: string, options: { readonly opId?: string } = {}, call?: CallOptions): Promise<void> {
    const name = changeNamed(options);
    await this.#run('destroy', { kid: text('kid', kid), version: undefined, name }, call);
  }

  /** Derives a key by HKDF-SHA256 from an `hkdf-sha256` key: the same input gives the same kid. */
  async derive(
    kid: string,
    context: { readonly origin: string; readonly instance: string; readonly epoch: number },
    alg: string,
    call?: CallOptions,
  ): Promise<MadeKey> {
    const { origin, instance, epoch } = members('context', context, ['origin', 'instance', 'epoch']);
    const request = {
      ...{ kid: text('kid', kid), alg: text('alg', alg) },
      context: {
        ...{ origin: text('origin', origin), instance: text('instance', instance) },
        epoch: optionalInteger('epoch', epoch) ?? 0,
      },
    };
    return madeKey(await this.#run('derive', request, call));
  }

  async sign(options: SignWish, call?: CallOptions): Promise<MadeSignatures> {
    const { kid, signatures, receipts = [] } = await this.#run('sign', signRequest(options), call);
    return {
      kid,
      signatures: signatures.map((each) => ({
        kid: each.kid,
        alg: each.alg,
        signature: copied(each.signature),
      })),
      receipts: receipts.map(({ kid, index, seq }) => ({ kid, index, seq })),
    };
  }

  /** Resolves whether or not the signatures are valid; rejects where that could not be found out. */
  async verify(options: VerifyWish, call?: CallOptions): Promise<SignaturesChecked> {
    const answer = await this.#run('verify', verifyRequest(options), call);
    return {
      ...{ valid: answer.ok, satisfiedMode: answer.satisfiedMode },
      checked: answer.checked.map(({ kid, alg, ok: valid, reason }) => ({ kid, alg, valid, reason })),
    };
  }

  /** Encrypts at most 64 KiB by the current version of an AEAD key; the nonce is made for it. */
  async encrypt(
    kid: string,
    plaintext: Uint8Array,
    aad?: Uint8Array,
    call?: CallOptions,
  ): Promise<Ciphertext> {
    const request = { kid: text('kid', kid), plaintext: bytes('plaintext', plaintext), aad: aadOf(aad) };
    const made = await this.#run('encrypt', request, call);
    return { kid: made.kid, nonce: copied(made.nonce), ciphertext: copied(made.ciphertext) };
  }

  /** Rejects with kind Crypto where it does not open. */
  async decrypt(encrypted: Ciphertext, aad?: Uint8Array, call?: CallOptions): Promise<Uint8Array> {
    const { kid, nonce, ciphertext } = members('encrypted', encrypted, ['kid', 'nonce', 'ciphertext']);
    const request = {
      ...{ kid: text('kid', kid), nonce: bytes('nonce', nonce), ciphertext: bytes('ciphertext', ciphertext) },
      aad: aadOf(aad),
    };
    return copied((await this.#run('decrypt', request, call, true)).plaintext);
  }

  /** Wraps key material for a KEM, AEAD or KWP key. */
  async wrap(kid: string, plaintext: Uint8Array, aad?: Uint8Array, call?: CallOptions): Promise<WrappedKey> {
    const request = { kid: text('kid', kid), plaintext: bytes('plaintext', plaintext), aad: aadOf(aad) };
    const made = await this.#run('wrap', request, call);
    return { kid: made.kid, wrapped: copied(made.wrapped) };
  }

  async unwrap(key: WrappedKey, aad?: Uint8Array, call?: CallOptions): Promise<Uint8Array> {
    const { kid, wrapped } = members('key', key, ['kid', 'wrapped']);
    const request = { kid: text('kid', kid), wrapped: bytes('wrapped', wrapped), aad: aadOf(aad) };
    return copied((await this.#run('unwrap', request, call, true)).plaintext);
  }

  /** Seals a small secret (at most 64 KiB) under the tenant's key of a purpose, which is made at its first use. */
  async seal(
    purpose: string,
    plaintext: Uint8Array,
    aad?: Uint8Array,
    call?: CallOptions,
  ): Promise<Uint8Array> {
    const request = {
      ...{ purpose: text('purpose', purpose), plaintext: bytes('plaintext', plaintext) },
      aad: aadOf(aad),
    };
    return copied((await this.#run('seal', request, call)).sealed);
  }

  async unseal(sealed: Uint8Array, aad?: Uint8Array, call?: CallOptions): Promise<Uint8Array> {
    const request = { sealed: bytes('sealed', sealed), aad: aadOf(aad) };
    return copied((await this.#run('unseal', request, call, true)).plaintext);
  }

  /** The HMAC-SHA-256 of a message, 32 bytes, with the kid of the version that made it. */
  async mac(
    kid: string,
    message: Uint8Array,
    call?: CallOptions,
  ): Promise<{ readonly kid: string; readonly tag: Uint8Array }> {
    const made = await this.#run('mac', { kid: text('kid', kid), message: bytes('message', message) }, call);
    return { kid: made.kid, tag: copied(made.tag) };
  }

  async verifyMac(kid: string, message: Uint8Array, tag: Uint8Array, call?: CallOptions): Promise<boolean> {
    const request = { kid: text('kid', kid), message: bytes('message', message), tag: bytes('tag', tag) };
    return (await this.#run('mac_verify', request, call)).ok;
  }

  async #run<Name extends keyof Operations>(
    name: Name,
    request: RequestOf<Operations[Name]>,
    call: CallOptions = {},
    opens = false,
  ): Promise<AnswerOf<Operations[Name]>> {
    const { service } = this.#opened;
    const refusal = this.#opened.refusal();
    if (refusal !== undefined) throw new KmsError(refusal);
    const terms = members('options of a call', call, ['deadlineMs', 'signal']);
    const deadlineMs = optionalInteger('deadlineMs', terms.deadlineMs);
    const cancellation = createCancellation();
    const free = following(terms.signal, cancellation);
    try {
      const result = (await this.#opened.during(async () =>
        this.#path({
          operation: service.operations[name] as Operation<unknown, unknown>,
          parse: () => ok(request),
          body: none,
          credentials: { token: undefined, peer: () => peerAt('unix') },
          deadlineWish: deadlineMs === undefined ? undefined : String(deadlineMs),
          cancellation,
          withinAllowance: () => true,
        }),
      )) as Result<AnswerOf<Operations[Name]>>;
      if (!result.ok) throw new KmsError(result.failure, opens);
      return result.value;
    } finally {
      free();
    }
  }
}

type RequestOf<Asked> = Asked extends Operation<infer Request, unknown> ? Request : never;
type AnswerOf<Asked> = Asked extends Operation<never, infer Answer> ? Answer : never;

/** Workers answer with views of one response; a caller may keep its bytes, and write on them. */
function copied(view: Uint8Array): Uint8Array {
  return Uint8Array.from(view);
}

function aadOf(aad: unknown): Uint8Array {
  return optionalBytes('aad', aad) ?? none;
}

function madeKey({ kid, previous, algorithm, createdAtMs, publicKeys }: KeyMade): MadeKey {
  return {
    ...{ kid, previous, alg: algorithm.name, createdAt: new Date(createdAtMs) },
    publicKeys: publicKeys.map(copied),
  };
}

function listedKey({ id, alg, purpose, state, currentVersion, createdAtMs }: KeyHead): ListedKey {
  return {
    ...{ kid: formatKid(id, currentVersion), alg, purpose, state, currentVersion },
    createdAt: new Date(createdAtMs),
  };
}

/** Lets go of the signal at the end of a call: it may live as long as the program. */
function following(signal: unknown, cancellation: Cancellation): () => void {
  if (signal === undefined) return () => {};
  if (!(signal instanceof AbortSignal)) throw new KmsError(failure('BadRequest', 'signal is an AbortSignal'));
  const abandon = () => cancel(cancellation);
  if (signal.aborted) abandon();
  else signal.addEventListener('abort', abandon, { once: true });
  return () => signal.removeEventListener('abort', abandon);
}
