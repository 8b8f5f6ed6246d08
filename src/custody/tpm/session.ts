import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { TpmError } from './errors.ts';
import { handles, sessionAttributes, tpmAlgorithms } from './numbers.ts';
import { type Reader, Writer } from './wire.ts';

/** Authorizes a command, and verifies that its answer is the TPM's. */
export interface Authorization {
  /** The authorization area, without its length, and the parameters as they are sent. */
  authorize(command: Authorized): { readonly area: Buffer; readonly parameters: Buffer };
  /** Reads the area of an answer that succeeded, and gives the parameters in the clear. Throws a TpmError. */
  judge(code: number, parameters: Buffer, area: Reader): Buffer;
}

export interface Authorized {
  readonly code: number;
  /** Names of the handles, in their order. */
  readonly names: readonly Uint8Array[];
  readonly parameters: Buffer;
}

/** The password session of an entity whose authorization is empty. It proves nothing, and nothing is secret. */
export const emptyPassword: Authorization = {
  authorize: ({ parameters }) => ({
    area: new Writer()
      .u32(handles.password)
      .sized(Buffer.alloc(0))
      .u8(sessionAttributes.continueSession)
      .sized(Buffer.alloc(0))
      .done(),
    parameters,
  }),
  judge(_code, parameters, area) {
    area.sized();
    area.u8();
    area.sized();
    return parameters;
  },
};

const hashBytes = 32;
const keyBytes = 16;

/** KDFa with SHA-256 (TPM 2.0 part 1, 11.4.10.2; SP 800-108 in counter mode), 256 bits. */
export function kdfA(key: Uint8Array, label: string, contextU: Uint8Array, contextV: Uint8Array): Buffer {
  const block = new Writer()
    .u32(1)
    .bytes(Buffer.from(`${label}\0`))
    .bytes(contextU)
    .bytes(contextV)
    .u32(hashBytes * 8);
  return createHmac('sha256', key).update(block.done()).digest();
}

/** KDFe with SHA-256 (TPM 2.0 part 1, 11.4.10.3; SP 800-56A), 256 bits. `z`: the x of the shared point. */
export function kdfE(z: Uint8Array, label: string, partyU: Uint8Array, partyV: Uint8Array): Buffer {
  const block = new Writer()
    .u32(1)
    .bytes(z)
    .bytes(Buffer.from(`${label}\0`))
    .bytes(partyU)
    .bytes(partyV);
  const bytes = block.done();
  const derived = createHash('sha256').update(bytes).digest();
  bytes.fill(0);
  return derived;
}

/**
 * A session whose salt only the TPM could read (TPM 2.0 part 1, 19). Commands and answers carry an HMAC. Where it is asked for,
 * AES-128-CFB encrypts the first parameter. One command at a time.
 */
export class Session implements Authorization {
  readonly handle: number;
  readonly #key: Buffer;
  #nonceTpm: Buffer;
  #nonceCaller: Buffer = Buffer.alloc(0);
  #use: SessionUse = plainUse;

  constructor(handle: number, { salt, nonceTpm, nonceCaller }: SessionSecrets) {
    this.handle = handle;
    this.#key = kdfA(salt, 'ATH', nonceTpm, nonceCaller);
    this.#nonceTpm = Buffer.from(nonceTpm);
  }

  /** This session for one command. The caller wipes `secret`. */
  with(use: Partial<SessionUse>): Session {
    this.#use = { ...plainUse, ...use };
    return this;
  }

  authorize({ code, names, parameters }: Authorized): { readonly area: Buffer; readonly parameters: Buffer } {
    this.#nonceCaller = randomBytes(hashBytes);
    const { encryptsCommand } = this.#use;
    const sent = encryptsCommand
      ? withFirst(parameters, (first) => this.#cipher('encrypt', this.#nonceCaller, this.#nonceTpm, first))
      : parameters;
    const hash = createHash('sha256').update(new Writer().u32(code).done());
    for (const name of names) hash.update(name);
    const hmac = this.#hmac(hash.update(sent).digest(), this.#nonceCaller, this.#nonceTpm, this.#attributes);
    const area = new Writer().u32(this.handle).sized(this.#nonceCaller).u8(this.#attributes).sized(hmac);
    return { area: area.done(), parameters: sent };
  }

  judge(code: number, parameters: Buffer, area: Reader): Buffer {
    const nonceTpm = Buffer.from(area.sized());
    const attributes = area.u8();
    const given = area.sized();
    const hash = createHash('sha256')
      .update(new Writer().u32(0).u32(code).done())
      .update(parameters)
      .digest();
    const expected = this.#hmac(hash, nonceTpm, this.#nonceCaller, attributes);
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      throw new TpmError('its answer is not of the TPM that this session was opened with');
    this.#nonceTpm = nonceTpm;
    if (!this.#use.encryptsAnswer) return parameters;
    return withFirst(parameters, (first) => this.#cipher('decrypt', nonceTpm, this.#nonceCaller, first));
  }

  end(): void {
    this.#key.fill(0);
  }

  get #attributes(): number {
    const { encryptsCommand, encryptsAnswer } = this.#use;
    return (
      sessionAttributes.continueSession |
      (encryptsCommand ? sessionAttributes.decrypt : 0) |
      (encryptsAnswer ? sessionAttributes.encrypt : 0)
    );
  }

  #hmac(hash: Buffer, newer: Buffer, older: Buffer, attributes: number): Buffer {
    const { secret, provesSecret } = this.#use;
    const key = provesSecret ? Buffer.concat([this.#key, secret]) : Buffer.from(this.#key);
    const mac = createHmac('sha256', key)
      .update(hash)
      .update(newer)
      .update(older)
      .update(Buffer.of(attributes));
    key.fill(0);
    return mac.digest();
  }

  #cipher(way: 'encrypt' | 'decrypt', newer: Buffer, older: Buffer, data: Buffer): Buffer {
    const value = Buffer.concat([this.#key, this.#use.secret]);
    const derived = kdfA(value, 'CFB', newer, older);
    const [key, iv] = [derived.subarray(0, keyBytes), derived.subarray(keyBytes)];
    const cipher =
      way === 'encrypt' ? createCipheriv('aes-128-cfb', key, iv) : createDecipheriv('aes-128-cfb', key, iv);
    // CFB leaves nothing for final().
    const done = cipher.update(data);
    value.fill(0);
    derived.fill(0);
    return done;
  }
}

export interface SessionUse {
  /** Authorization value of the first handle's entity, without zeros at its end. */
  readonly secret: Uint8Array;
  /** True: the HMAC proves knowledge of it. A policy session does that where its policy asks for it. */
  readonly provesSecret: boolean;
  readonly encryptsCommand: boolean;
  readonly encryptsAnswer: boolean;
}

const plainUse: SessionUse = {
  ...{ secret: Buffer.alloc(0), provesSecret: true, encryptsCommand: false, encryptsAnswer: false },
};

export interface SessionSecrets {
  readonly salt: Uint8Array;
  readonly nonceTpm: Uint8Array;
  readonly nonceCaller: Uint8Array;
}

/** TPMT_SYM_DEF of all sessions: AES-128-CFB. */
export const sessionCipher = new Writer()
  .u16(tpmAlgorithms.aes)
  .u16(keyBytes * 8)
  .u16(tpmAlgorithms.cfb)
  .done();

/** Replaces the first parameter, a TPM2B, by bytes of the same length. */
function withFirst(parameters: Buffer, change: (first: Buffer) => Buffer): Buffer {
  const length = parameters.length < 2 ? -1 : parameters.readUInt16BE();
  if (length < 0 || length + 2 > parameters.length) throw new TpmError('an answer of the TPM is cut short');
  const changed = change(parameters.subarray(2, 2 + length));
  const whole = Buffer.from(parameters);
  changed.copy(whole, 2);
  changed.fill(0);
  return whole;
}
