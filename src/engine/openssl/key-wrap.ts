import {
  constants,
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  privateDecrypt,
} from 'node:crypto';
import { modulusBytes } from './signature-schemes.ts';

const cipher = 'id-aes256-wrap-pad';
const blockBytes = 8;
const aesKeyBytes = 32;
/** RFC 5649 3: the first half of the alternative initial value. */
const initialValue = Buffer.from('a65959a6', 'hex');

/** RFC 5649 4.1; undefined: an empty plaintext has no wrapping. */
export function wrapPadded(key: KeyObject, plaintext: Uint8Array): Buffer | undefined {
  if (plaintext.length === 0) return undefined;
  const wrapping = createCipheriv(cipher, key, initialValue);
  return Buffer.concat([wrapping.update(plaintext), wrapping.final()]);
}

/** RFC 5649 4.2; undefined where it does not open. The caller wipes the result. */
export function unwrapPadded(key: KeyObject, wrapped: Uint8Array): Buffer | undefined {
  if (wrapped.length < 2 * blockBytes || wrapped.length % blockBytes !== 0) return undefined;
  const unwrapping = createDecipheriv(cipher, key, initialValue);
  try {
    const plaintext = unwrapping.update(wrapped);
    unwrapping.final();
    return plaintext;
  } catch {
    return undefined;
  }
}

/**
 * RSA-OAEP with AES key wrap, as PKCS#11 (CKM_RSA_AES_KEY_WRAP), AWS KMS and Vault import keys: an AES-256 key under RSAES-OAEP
 * (RFC 8017) with SHA-256 and MGF1 with SHA-256, then the key material under it by RFC 5649. Whatever does not open is undefined.
 */
export function unwrapRsaAes(key: KeyObject, material: Uint8Array): Buffer | undefined {
  const border = modulusBytes(key);
  if (material.length < border) return undefined;
  let aesKey: Buffer;
  try {
    const oaep = { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
    aesKey = privateDecrypt(oaep, material.subarray(0, border));
  } catch {
    return undefined;
  }
  try {
    if (aesKey.length !== aesKeyBytes) return undefined;
    return unwrapPadded(createSecretKey(aesKey), material.subarray(border));
  } finally {
    aesKey.fill(0);
  }
}
