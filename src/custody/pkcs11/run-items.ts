import { randomBytes, timingSafeEqual } from 'node:crypto';
import { keyTypes, schemes } from '../../algorithms/ids.ts';
import {
  type BatchItem,
  type BatchResult,
  type BatchStatus,
  batchOps,
  batchStatuses,
  timedResult,
} from '../../engine/batch.ts';
import { dataKeyBytes, maxPlaintextBytes, readWordInput } from '../../engine/rooms.ts';
import { awayOf, TokenAway } from './away.ts';
import { codeOf, type Handle, nameOf } from './cryptoki.ts';
import { type KeyTroubles, unclearTroubles } from './key-troubles.ts';
import {
  attributes as a,
  codes,
  handleDeaths,
  mechanisms as m,
  parameterKinds,
  tokenTroubles,
} from './numbers.ts';
import { signingWays } from './schemes.ts';
import { passingTemplate } from './templates.ts';
import type { Token } from './token.ts';
import { type FoundKey, partIn, referenceText, type TokenKeys } from './token-keys.ts';

type Outcome = BatchStatus | readonly Uint8Array[];
type Input = Uint8Array;

const { rejected, keyUnusable, badInput, internal } = batchStatuses;
/** Lines for the operator that wait for the next answer. */
const maxTold = 64;
const none: readonly string[] = [];
const nonceBytes = 12;
const tagBytes = 16;

/** Does the work of items by keys in the token: what the engines do by keys of their own. */
export class ItemRunner {
  readonly #token: Token;
  readonly #keys: TokenKeys;
  readonly #troubles: KeyTroubles;
  #ofKeys: string[] = [];
  /** True of a token that pads before it wraps, as SoftHSM 2.6 does: then only whole blocks come back as they were. */
  #padsFirst: Promise<boolean> | undefined;
  #generation = 0;

  constructor(token: Token, keys: TokenKeys, troubles: KeyTroubles) {
    this.#token = token;
    this.#keys = keys;
    this.#troubles = troubles;
  }

  /** Troubles that keys turned out to have of themselves since this was asked last, each once. */
  takeTroublesOfKeys(): readonly string[] {
    return this.#ofKeys.length === 0 ? none : this.#ofKeys.splice(0);
  }

  /** Throws TokenAway where the token does not do its work. */
  run(item: BatchItem): Promise<BatchResult> {
    return timedResult(() => this.#tryTwice(item));
  }

  /** A handle that the token does not know any more is found again, once. */
  async #tryTwice(item: BatchItem): Promise<Outcome> {
    for (let attempt = 1; ; attempt++) {
      try {
        const outcome = await this.#once(item);
        if (typeof outcome !== 'number') this.#troubles.worked(referenceText(item.key));
        return outcome;
      } catch (error) {
        if (error instanceof TokenAway) throw error;
        const code = codeOf(error);
        if (attempt === 1 && code !== undefined && handleDeaths.has(code)) {
          this.#keys.forget(item.key);
          continue;
        }
        return this.#statusOf(item, error);
      }
    }
  }

  /** Tokens say the same of what does not open and of their own troubles: the token itself is asked which it is. */
  #statusOf({ op, key }: BatchItem, error: unknown): BatchStatus {
    const code = codeOf(error);
    if (code === undefined) throw error;
    this.#token.probe();
    if (opens.has(op) && notOpened.has(code)) return rejected;
    if (code === codes.keyFunctionNotPermitted || code === codes.keyTypeInconsistent) return keyUnusable;
    if (troubles.has(code) && !(unclearTroubles.has(code) && this.#isOfKey(key, error))) throw awayOf(error);
    return internal;
  }

  #isOfKey(key: Uint8Array, error: unknown): boolean {
    const judged = this.#troubles.judge(referenceText(key));
    if (judged.of === 'token') return false;
    if (judged.isNew && this.#ofKeys.length < maxTold) this.#ofKeys.push(`${nameOf(error)}: ${partIn(key)}`);
    return true;
  }

  async #once(item: BatchItem): Promise<Outcome> {
    const key = await this.#keys.find(item.key);
    if (key === undefined) return keyUnusable;
    switch (item.op) {
      case batchOps.sign:
      case batchOps.signDeterministic:
        return this.#sign(key, item, false);
      case batchOps.signDigest:
        return this.#sign(key, item, true);
      case batchOps.mac:
        return this.#mac(key, item);
      case batchOps.verifyMac:
        return this.#verifyMac(key, item);
    }
    if (item.scheme === schemes['aes-256-gcm']) return this.#gcm(key, item);
    return item.scheme === schemes['aes-256-kwp'] ? this.#kwp(key, item) : badInput;
  }

  async #sign(key: FoundKey, { scheme, inputs }: BatchItem, digested: boolean): Promise<Outcome> {
    const way = signingWays[scheme];
    const [input, context] = inputs as [Input, Input?];
    if (way === undefined || (context !== undefined && context.length > 0)) return badInput;
    if (key.keyType === undefined || !way.keyType.has(key.keyType)) return keyUnusable;
    const prepared = way.prepare(input, digested, this.#token.mechanisms);
    if (prepared === undefined) return badInput;
    const { cryptoki } = this.#token;
    const signature = await this.#token.inSession((session) => {
      cryptoki.C_SignInit(session, prepared.mechanism, key.handle);
      return cryptoki.C_SignAsync(session, prepared.data, Buffer.alloc(way.signatureBytes));
    });
    return [way.finish(signature)];
  }

  async #tag(key: FoundKey, message: Input): Promise<Buffer> {
    const { cryptoki } = this.#token;
    return this.#token.inSession((session) => {
      cryptoki.C_SignInit(session, { mechanism: m.sha256Hmac, parameter: null }, key.handle);
      return cryptoki.C_SignAsync(session, bufferOf(message), Buffer.alloc(32));
    });
  }

  async #mac(key: FoundKey, { scheme, inputs }: BatchItem): Promise<Outcome> {
    if (scheme !== schemes['hmac-sha256']) return badInput;
    if (key.keyType !== keyTypes['hmac-sha256']) return keyUnusable;
    return [await this.#tag(key, inputs[0] as Input)];
  }

  async #verifyMac(key: FoundKey, { scheme, inputs }: BatchItem): Promise<Outcome> {
    if (scheme !== schemes['hmac-sha256']) return badInput;
    if (key.keyType !== keyTypes['hmac-sha256']) return keyUnusable;
    const [message, given] = inputs as [Input, Input];
    const own = await this.#tag(key, message);
    return given.length === own.length && timingSafeEqual(own, given) ? [] : rejected;
  }

  async #gcm(key: FoundKey, { op, inputs }: BatchItem): Promise<Outcome> {
    if (!isAes(key)) return keyUnusable;
    switch (op) {
      case batchOps.encrypt: {
        const [plaintext, aad] = inputs as [Input, Input];
        return plaintext.length > maxPlaintextBytes ? badInput : this.#encrypt(key.handle, plaintext, aad);
      }
      case batchOps.decrypt: {
        const [nonce, ciphertext, aad] = inputs as [Input, Input, Input];
        return listOf(await this.#decrypt(key.handle, nonce, ciphertext, aad));
      }
      case batchOps.reencrypt: {
        const [reference, nonce, ciphertext, aad] = inputs as [Input, Input, Input, Input];
        const next = await this.#keys.find(reference);
        if (next === undefined || !isAes(next)) return keyUnusable;
        const plaintext = await this.#decrypt(key.handle, nonce, ciphertext, aad);
        if (typeof plaintext === 'number') return plaintext;
        return wiping(plaintext, this.#encrypt(next.handle, plaintext, aad));
      }
    }
    return this.#wrapBy(gcmWrapper(this.#encrypt.bind(this), this.#decrypt.bind(this)), key, op, inputs);
  }

  async #kwp(key: FoundKey, { op, inputs }: BatchItem): Promise<Outcome> {
    if (!isAes(key)) return keyUnusable;
    return this.#wrapBy({ wrap: this.#wrap.bind(this), unwrap: this.#unwrap.bind(this) }, key, op, inputs);
  }

  async #wrapBy(
    { wrap, unwrap }: Wrapper,
    key: FoundKey,
    op: BatchItem['op'],
    inputs: readonly Input[],
  ): Promise<Outcome> {
    switch (op) {
      case batchOps.wrap: {
        const [plaintext, info, aad] = inputs as [Input, Input, Input];
        return plaintext.length > maxPlaintextBytes
          ? badInput
          : listOf(await wrap(key, plaintext, info, aad));
      }
      case batchOps.unwrap: {
        const [wrapped, info, aad] = inputs as [Input, Input, Input];
        return listOf(await unwrap(key, wrapped, info, aad));
      }
      case batchOps.dataKey: {
        const [size, wanted, info, aad] = inputs as [Input, Input, Input, Input];
        const bytes = readWordInput(size) ?? 0;
        if (!dataKeyBytes.includes(bytes)) return badInput;
        const dataKey = randomBytes(bytes);
        const isWanted = readWordInput(wanted) === 1;
        const wrapping = wrap(key, dataKey, info, aad);
        const wrapped = await (isWanted ? wrapping : wiping(dataKey, wrapping));
        if (typeof wrapped === 'number') return wrapped;
        return isWanted ? [wrapped, dataKey] : [wrapped];
      }
      case batchOps.rewrap: {
        const [reference, wrapped, oldInfo, newInfo, aad] = inputs as [Input, Input, Input, Input, Input];
        const next = await this.#keys.find(reference);
        if (next === undefined || !isAes(next)) return keyUnusable;
        const plaintext = await unwrap(key, wrapped, oldInfo, aad);
        if (typeof plaintext === 'number') return plaintext;
        return listOf(await wiping(plaintext, wrap(next, plaintext, newInfo, aad)));
      }
    }
    return badInput;
  }

  async #encrypt(handle: Handle, plaintext: Input, aad: Input): Promise<readonly [Buffer, Buffer]> {
    const nonce = randomBytes(nonceBytes);
    const { cryptoki } = this.#token;
    const ciphertext = await this.#token.inSession((session) => {
      cryptoki.C_EncryptInit(session, gcmMechanism(nonce, aad), handle);
      return cryptoki.C_EncryptAsync(session, present(plaintext), Buffer.alloc(plaintext.length + tagBytes));
    });
    return [nonce, ciphertext];
  }

  async #decrypt(handle: Handle, nonce: Input, ciphertext: Input, aad: Input): Promise<Buffer | BatchStatus> {
    if (nonce.length !== nonceBytes || ciphertext.length < tagBytes) return rejected;
    const { cryptoki } = this.#token;
    return this.#token.inSession((session) => {
      cryptoki.C_DecryptInit(session, gcmMechanism(nonce, aad), handle);
      // Modules want room for the tag as well.
      return cryptoki.C_DecryptAsync(session, bufferOf(ciphertext), Buffer.alloc(ciphertext.length));
    });
  }

  /** RFC 5649, as the token has it for keys: what is wrapped is an object of the session for as long. */
  async #wrap(
    { handle }: FoundKey,
    plaintext: Input,
    _info: Input,
    aad: Input,
  ): Promise<Buffer | BatchStatus> {
    if (aad.length > 0 || plaintext.length === 0) return badInput;
    const whole = plaintext.length % blockBytes === 0;
    if (!whole && (await this.#wrapsWrongly(handle))) return badInput;
    return this.#token.inSession((session) => this.#wrapIn(session, handle, plaintext));
  }

  async #wrapIn(session: Handle, handle: Handle, plaintext: Input): Promise<Buffer> {
    const { cryptoki } = this.#token;
    const passing = cryptoki.C_CreateObject(session, passingTemplate(bufferOf(plaintext)));
    try {
      const room = Buffer.alloc(plaintext.length + 3 * blockBytes);
      return await cryptoki.C_WrapKeyAsync(session, this.#wrapMechanism(), handle, passing, room);
    } finally {
      cryptoki.C_DestroyObject(session, passing);
    }
  }

  async #unwrap(
    { handle }: FoundKey,
    wrapped: Input,
    _info: Input,
    aad: Input,
  ): Promise<Buffer | BatchStatus> {
    if (aad.length > 0) return badInput;
    if (wrapped.length < 2 * blockBytes || wrapped.length > maxPlaintextBytes + 2 * blockBytes)
      return rejected;
    if (wrapped.length % blockBytes !== 0) return rejected;
    return this.#token.inSession((session) => this.#unwrapIn(session, handle, wrapped));
  }

  async #unwrapIn(session: Handle, handle: Handle, wrapped: Input): Promise<Buffer> {
    const { cryptoki } = this.#token;
    const mechanism = this.#wrapMechanism();
    const template = passingTemplate();
    const passing = await cryptoki.C_UnwrapKeyAsync(session, mechanism, handle, bufferOf(wrapped), template);
    try {
      return cryptoki.C_GetAttributeValue(session, passing, [{ type: a.value }])[0]?.value as Buffer;
    } finally {
      cryptoki.C_DestroyObject(session, passing);
    }
  }

  #wrapMechanism() {
    const kwp = this.#token.mechanisms.has(m.aesKeyWrapKwp);
    return { mechanism: kwp ? m.aesKeyWrapKwp : m.aesKeyWrapPad, parameter: null };
  }

  /** One byte there and back, once for each opening of the token. */
  #wrapsWrongly(handle: Handle): Promise<boolean> {
    if (this.#generation !== this.#token.generation) this.#padsFirst = undefined;
    this.#generation = this.#token.generation;
    this.#padsFirst ??= this.#token.inSession(async (session) => {
      const wrapped = await this.#wrapIn(session, handle, Buffer.of(1));
      return (await this.#unwrapIn(session, handle, wrapped)).length !== 1;
    });
    return this.#padsFirst;
  }
}

/** The ways of a scheme to wrap. Both give a status where they cannot. */
interface Wrapper {
  wrap(key: FoundKey, plaintext: Input, info: Input, aad: Input): Promise<Buffer | BatchStatus>;
  unwrap(key: FoundKey, wrapped: Input, info: Input, aad: Input): Promise<Buffer | BatchStatus>;
}

/** By the key beside the one that encrypts. Info and aad are both authenticated, with their border. */
function gcmWrapper(
  encrypt: (handle: Handle, plaintext: Input, aad: Input) => Promise<readonly [Buffer, Buffer]>,
  decrypt: (handle: Handle, nonce: Input, ciphertext: Input, aad: Input) => Promise<Buffer | BatchStatus>,
): Wrapper {
  return {
    async wrap({ wrapping }, plaintext, info, aad) {
      if (wrapping === undefined) return keyUnusable;
      return Buffer.concat(await encrypt(wrapping, plaintext, framed(info, aad)));
    },
    async unwrap({ wrapping }, wrapped, info, aad) {
      if (wrapping === undefined) return keyUnusable;
      const nonce = wrapped.subarray(0, nonceBytes);
      return decrypt(wrapping, nonce, wrapped.subarray(nonceBytes), framed(info, aad));
    },
  };
}

function framed(info: Input, aad: Input): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(info.length);
  return Buffer.concat([length, info, aad]);
}

function gcmMechanism(iv: Input, aad: Input) {
  const parameter = {
    type: parameterKinds.aesGcm,
    iv: bufferOf(iv),
    aad: bufferOf(aad),
    ivBits: 96,
    tagBits: 128,
  };
  return { mechanism: m.aesGcm, parameter };
}

function isAes({ keyType }: FoundKey): boolean {
  return keyType === keyTypes['aes-256-gcm'] || keyType === keyTypes['aes-256-kwp'];
}

function listOf(made: Buffer | BatchStatus): Outcome {
  return typeof made === 'number' ? made : [made];
}

/** The secret is gone when the work with it has ended, well or not. */
function wiping<T>(secret: Buffer, work: Promise<T>): Promise<T> {
  return work.finally(() => secret.fill(0));
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

const somewhere = Buffer.alloc(16);
/** Modules refuse a null pointer, which an empty buffer of its own is. */
function present(bytes: Uint8Array): Buffer {
  return bytes.length === 0 ? somewhere.subarray(8, 8) : bufferOf(bytes);
}

const blockBytes = 8;
const opens: ReadonlySet<number> = new Set([
  batchOps.decrypt,
  batchOps.unwrap,
  batchOps.reencrypt,
  batchOps.rewrap,
]);
/** Of a ciphertext that does not open. */
const notOpened: ReadonlySet<number> = new Set([
  codes.generalError,
  codes.functionFailed,
  codes.argumentsBad,
  codes.encryptedDataInvalid,
  codes.encryptedDataLenRange,
  codes.wrappedKeyInvalid,
  codes.wrappedKeyLenRange,
]);
/** No work needs more memory than any token has. */
const troubles: ReadonlySet<number> = new Set([...tokenTroubles, codes.deviceMemory]);
