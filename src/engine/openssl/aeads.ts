import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { type KeyType, keyTypes, schemes } from '../engine.ts';

export const tagBytes = 16;
const gcmNonceBytes = 12;
const wrapKeyBytes = 32;

export interface AeadScheme {
  readonly keyType: KeyType;
  readonly nonceBytes: number;
  readonly cipher: 'aes-256-gcm' | 'chacha20-poly1305';
  /** The key and the nonce of the cipher: XAES makes both of its own. */
  prepare(key: KeyObject, nonce: Uint8Array): Prepared;
}

interface Prepared {
  readonly key: KeyObject;
  readonly nonce: Uint8Array;
}

const asTheyAre = (key: KeyObject, nonce: Uint8Array): Prepared => ({ key, nonce });

const aesGcm: AeadScheme = {
  keyType: keyTypes['aes-256-gcm'],
  nonceBytes: gcmNonceBytes,
  cipher: 'aes-256-gcm',
  prepare: asTheyAre,
};

export const aeadSchemes = {
  [schemes['aes-256-gcm']]: aesGcm,
  [schemes['chacha20-poly1305']]: {
    keyType: keyTypes['chacha20-poly1305'],
    nonceBytes: gcmNonceBytes,
    cipher: 'chacha20-poly1305',
    prepare: asTheyAre,
  },
  [schemes['xaes-256-gcm']]: {
    keyType: keyTypes['xaes-256-gcm'],
    nonceBytes: 2 * gcmNonceBytes,
    cipher: 'aes-256-gcm',
    prepare: (key, nonce) => ({ key: xaesKey(key, nonce), nonce: nonce.subarray(gcmNonceBytes) }),
  },
} as const satisfies Readonly<Record<number, AeadScheme>>;

/** AES-256-GCM, as HPKE uses it. */
export const hpkeAead = aesGcm;

/** Ciphertext and tag. */
export function sealAead(
  scheme: AeadScheme,
  secret: KeyObject,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  aad: Uint8Array,
): Buffer {
  const { key, nonce: own } = scheme.prepare(secret, nonce);
  const cipher = createCipheriv(scheme.cipher as 'aes-256-gcm', key, own, { authTagLength: tagBytes });
  cipher.setAAD(aad, { plaintextLength: plaintext.length });
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return Buffer.concat([ciphertext, cipher.getAuthTag()]);
}

/** The plaintext in a buffer of its own, which the caller wipes; undefined where it does not open. */
export function openAead(
  scheme: AeadScheme,
  secret: KeyObject,
  nonce: Uint8Array,
  ciphertext: Uint8Array,
  aad: Uint8Array,
): Buffer | undefined {
  if (nonce.length !== scheme.nonceBytes || ciphertext.length < tagBytes) return undefined;
  const { key, nonce: own } = scheme.prepare(secret, nonce);
  const tagAt = ciphertext.length - tagBytes;
  const decipher = createDecipheriv(scheme.cipher as 'aes-256-gcm', key, own, { authTagLength: tagBytes });
  decipher.setAAD(aad, { plaintextLength: tagAt });
  decipher.setAuthTag(ciphertext.subarray(tagAt));
  const plaintext = decipher.update(ciphertext.subarray(0, tagAt));
  try {
    decipher.final();
    return plaintext;
  } catch {
    plaintext.fill(0);
    return undefined;
  }
}

/** AEAD keys wrap by another key than they encrypt by, so that neither opens what the other made. */
export function wrapKeyOf(secret: KeyObject, info: Uint8Array): KeyObject {
  return secretKeyOf(Buffer.from(hkdfSync('sha256', secret, '', info, wrapKeyBytes)));
}

/** Wipes `bytes`. */
export function secretKeyOf(bytes: Buffer): KeyObject {
  try {
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

const blockBytes = 16;

/**
 * XAES-256-GCM's key for a nonce (C2SP): CMAC-based counter mode of SP 800-108r1, with both inputs of one block each, so that
 * CMAC (SP 800-38B) is one XOR with K1 and one block.
 */
function xaesKey(key: KeyObject, nonce: Uint8Array): KeyObject {
  const subkey = encryptBlocks(key, Buffer.alloc(blockBytes));
  double(subkey);
  const blocks = Buffer.alloc(2 * blockBytes);
  try {
    for (const counter of [1, 2]) {
      const block = blocks.subarray((counter - 1) * blockBytes, counter * blockBytes);
      block.set([0, counter, 'X'.charCodeAt(0), 0]);
      block.set(nonce.subarray(0, gcmNonceBytes), blockBytes - gcmNonceBytes);
      for (let index = 0; index < blockBytes; index++) block[index]! ^= subkey[index]!;
    }
    return secretKeyOf(encryptBlocks(key, blocks));
  } finally {
    subkey.fill(0);
    blocks.fill(0);
  }
}

function encryptBlocks(key: KeyObject, blocks: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-ecb', key, null);
  cipher.setAutoPadding(false);
  return cipher.update(blocks);
}

/** Times x in GF(2^128) as SP 800-38B has it, without a branch on the secret. */
function double(block: Buffer): void {
  const carry = (block[0] as number) >> 7;
  for (let index = 0; index < blockBytes; index++)
    block[index] = ((block[index] as number) << 1) | ((block[index + 1] ?? 0) >> 7);
  block[blockBytes - 1]! ^= carry * 0x87;
}
