import { constants, publicEncrypt, randomBytes } from 'node:crypto';
import { keyTypes } from '../../algorithms/ids.ts';
import { StartError } from '../../core/start-error.ts';
import type { TokenKeyName } from '../../keys/record.ts';
import { awayOf, TokenAway } from './away.ts';
import { type Cryptoki, type Handle, initialize, loadCryptoki, type Mechanism } from './cryptoki.ts';
import {
  attributes as a,
  mechanisms as m,
  maskFunctions,
  objectClasses,
  parameterKinds,
  sessionFlags,
  userType,
} from './numbers.ts';
import type { TokenSettings } from './protocol.ts';
import { keyObjectOf, publicKeyIn } from './public-keys.ts';
import { findSlot } from './slots.ts';

/** A key in a token that wraps the root key, and where it is. */
export interface WrappingToken extends Pick<TokenSettings, 'module' | 'token'> {
  readonly key: TokenKeyName;
  /** AES-GCM with random nonces, or RSAES-OAEP. */
  readonly mechanism: 'aes-gcm' | 'rsa-oaep';
}

/**
 * Wraps the root key by a key in a token, in a process that ends soon: module and login are opened for each call and closed after
 * it. Errors are TokenAway, with a reason for the operator.
 */
export interface RootWrapping {
  /**
   * Base64 of `nonce[12] | ciphertext | tag[16]`, additional data `intaglio root key`; or of `u8 hash (1: SHA-1, 2: SHA-256) |
   * ciphertext`, by the first hash that the token takes. What is wrapped was unwrapped once before it is given.
   */
  wrap(where: WrappingToken, pin: Uint8Array, secret: Uint8Array): Promise<string>;
  /** The caller wipes what it gets. */
  unwrap(where: WrappingToken & { readonly wrapped: string }, pin: Uint8Array): Promise<Buffer>;
}

/** The same as sources of the root key ask for it: what cannot be is a StartError. Undefined where npm pkcs11js is not installed. */
export async function openRootWrapping(): Promise<RootWrapping | undefined> {
  const cryptoki = await loadCryptoki();
  if (cryptoki === undefined) return undefined;
  const wrapping = createRootWrapping(cryptoki);
  const said = async <T>({ token }: WrappingToken, does: Promise<T>): Promise<T> => {
    try {
      return await does;
    } catch (cause) {
      const name = 'label' in token ? token.label : token.serial;
      throw new StartError(`the token ${name}: ${awayOf(cause).message}`);
    }
  };
  return {
    wrap: (where, pin, secret) => said(where, wrapping.wrap(where, pin, secret)),
    unwrap: (where, pin) => said(where, wrapping.unwrap(where, pin)),
  };
}

const nonceBytes = 12;
const tagBytes = 16;
const additionalData = Buffer.from('intaglio root key');
const hashes = [
  { id: 2, name: 'sha256', mechanism: m.sha256, mask: maskFunctions.sha256 },
  { id: 1, name: 'sha1', mechanism: m.sha1, mask: maskFunctions.sha1 },
] as const;

export function createRootWrapping(cryptoki: Cryptoki): RootWrapping {
  let loaded: string | undefined;

  async function within<T>(
    { module, token }: WrappingToken,
    pin: Uint8Array,
    does: (session: Handle) => T | Promise<T>,
  ): Promise<T> {
    if (loaded !== undefined && loaded !== module) throw new TokenAway('one module for each process');
    try {
      if (loaded === undefined) cryptoki.load(module);
      loaded = module;
    } catch {
      throw new TokenAway(`the module ${module} cannot be loaded`);
    }
    try {
      initialize(cryptoki);
      const session = cryptoki.C_OpenSession(
        findSlot(cryptoki, token),
        sessionFlags.rw | sessionFlags.serial,
      );
      cryptoki.C_Login(session, userType, Buffer.from(pin.buffer, pin.byteOffset, pin.length).toString());
      return await does(session);
    } catch (error) {
      throw awayOf(error);
    } finally {
      cryptoki.C_Finalize();
    }
  }

  function keyOf(session: Handle, key: TokenKeyName, objectClass: number): Handle {
    const by =
      'label' in key
        ? { type: a.label, value: Buffer.from(key.label) }
        : { type: a.id, value: Buffer.from(key.idHex, 'hex') };
    cryptoki.C_FindObjectsInit(session, [{ type: a.class, value: objectClass }, by]);
    try {
      const found = cryptoki.C_FindObjects(session, 2);
      const [only] = found;
      if (only === undefined) throw new TokenAway('the token has no such key');
      if (found.length > 1) throw new TokenAway('several keys of the token have this name');
      return only;
    } finally {
      cryptoki.C_FindObjectsFinal(session);
    }
  }

  async function open(session: Handle, where: WrappingToken, wrapped: Buffer): Promise<Buffer> {
    const { mechanism, data } = openingOf(where, wrapped);
    const objectClass = where.mechanism === 'aes-gcm' ? objectClasses.secretKey : objectClasses.privateKey;
    cryptoki.C_DecryptInit(session, mechanism, keyOf(session, where.key, objectClass));
    return cryptoki.C_DecryptAsync(session, data, Buffer.alloc(wrapped.length));
  }

  async function seal(session: Handle, where: WrappingToken, secret: Buffer): Promise<Buffer> {
    if (where.mechanism === 'aes-gcm') {
      const nonce = randomBytes(nonceBytes);
      const key = keyOf(session, where.key, objectClasses.secretKey);
      cryptoki.C_EncryptInit(session, gcm(nonce), key);
      const room = Buffer.alloc(secret.length + tagBytes);
      return Buffer.concat([nonce, await cryptoki.C_EncryptAsync(session, secret, room)]);
    }
    const publicKey = keyOf(session, where.key, objectClasses.publicKey);
    const bytes = publicKeyIn(
      keyTypes['rsa-2048'],
      (type) => cryptoki.C_GetAttributeValue(session, publicKey, [{ type }])[0]?.value,
    );
    if (bytes === undefined) throw new TokenAway('the key is no RSA key');
    const key = keyObjectOf(keyTypes['rsa-2048'], bytes);
    for (const { id, name } of hashes) {
      const padding = constants.RSA_PKCS1_OAEP_PADDING;
      const wrapped = Buffer.concat([Buffer.of(id), publicEncrypt({ key, padding, oaepHash: name }, secret)]);
      if (await opens(session, where, wrapped)) return wrapped;
    }
    throw new TokenAway('the token does not open by RSAES-OAEP');
  }

  async function opens(session: Handle, where: WrappingToken, wrapped: Buffer): Promise<boolean> {
    try {
      (await open(session, where, wrapped)).fill(0);
      return true;
    } catch (error) {
      if (error instanceof TokenAway) throw error;
      return false;
    }
  }

  return {
    wrap: (where, pin, secret) =>
      within(where, pin, async (session) => {
        const plain = Buffer.from(secret.buffer, secret.byteOffset, secret.length);
        const wrapped = await seal(session, where, plain);
        const back = await open(session, where, wrapped);
        const same = back.equals(plain);
        back.fill(0);
        if (!same) throw new TokenAway('the token does not open what it wrapped');
        return wrapped.toString('base64');
      }),
    unwrap: (where, pin) =>
      within(where, pin, (session) => open(session, where, Buffer.from(where.wrapped, 'base64'))),
  };
}

function openingOf(
  { mechanism }: WrappingToken,
  wrapped: Buffer,
): { readonly mechanism: Mechanism; readonly data: Buffer } {
  if (mechanism === 'aes-gcm')
    return { mechanism: gcm(wrapped.subarray(0, nonceBytes)), data: wrapped.subarray(nonceBytes) };
  const hash = hashes.find(({ id }) => id === wrapped[0]);
  if (hash === undefined) throw new TokenAway('what is wrapped has an unknown form');
  const parameter = {
    ...{ type: parameterKinds.rsaOaep, hashAlg: hash.mechanism, mgf: hash.mask },
    source: dataSpecified,
  };
  return { mechanism: { mechanism: m.rsaPkcsOaep, parameter }, data: wrapped.subarray(1) };
}

/** CKZ_DATA_SPECIFIED, with no data. */
const dataSpecified = 1;

function gcm(iv: Buffer): Mechanism {
  const parameter = { type: parameterKinds.aesGcm, iv, aad: additionalData, ivBits: 96, tagBits: 128 };
  return { mechanism: m.aesGcm, parameter };
}
