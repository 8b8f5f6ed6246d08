import { constants, createCipheriv, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';

/** The alternative initial value of RFC 5649, section 3. */
const kwpInitialValue = Buffer.from('a65959a6', 'hex');

/** RSAES-OAEP with SHA-256 around a new AES-256 key, and the secret under that by RFC 5649: CKM_RSA_AES_KEY_WRAP of PKCS#11. */
export function wrapMaterial(wrappingSpki: Uint8Array, secret: Uint8Array): Uint8Array {
  const key = createPublicKey({ key: Buffer.from(wrappingSpki), format: 'der', type: 'spki' });
  const aes = randomBytes(32);
  try {
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    const head = publicEncrypt({ key, padding, oaepHash: 'sha256' }, aes);
    const cipher = createCipheriv('id-aes256-wrap-pad', aes, kwpInitialValue);
    return Buffer.concat([head, cipher.update(secret), cipher.final()]);
  } finally {
    aes.fill(0);
  }
}
