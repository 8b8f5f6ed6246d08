import { createDecipheriv, createPrivateKey, hkdfSync } from 'node:crypto';

/**
 * Opens a sealed private key by the documented format (version 1) and with nothing of the service's own code:
 * u8 version | u8 aead | u16le key type | nonce[12] | ciphertext | tag[16], AES-256-GCM under
 * HKDF-SHA-256(root key, no salt, "intaglio/seal/v1\0" + tenant), additional data the first four bytes and `<kid>/<part>`.
 */
export function unseal(rootKey: Buffer, tenant: string, aad: string, sealed: Buffer): Buffer {
  const info = `intaglio/seal/v1\0${tenant}`;
  const key = Buffer.from(hkdfSync('sha256', rootKey, Buffer.alloc(0), info, 32));
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(4, 16));
  decipher.setAAD(Buffer.concat([sealed.subarray(0, 4), Buffer.from(aad)]));
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(16, -16)), decipher.final()]);
}

/**
 * The numbers in an unsealed key that are the secret: seeds as they are, 32 bytes each, of PKCS #8 what is not in the public key, of
 * mldsa65-p256 the seed and the scalar in its ECPrivateKey.
 */
export function secretNumbers(secret: Buffer): Buffer[] {
  if (secret.length === 32) return [secret];
  if (secret.length === 64) return [secret.subarray(0, 32), secret.subarray(32)];
  if (secret.length === 83) return [secret.subarray(0, 32), secret.subarray(39, 71)];
  const jwk = createPrivateKey({ key: secret, format: 'der', type: 'pkcs8' }).export({ format: 'jwk' });
  return [jwk.d, jwk.p, jwk.q].flatMap((number) =>
    number === undefined ? [] : [Buffer.from(number, 'base64url')],
  );
}
