import {
  constants,
  createCipheriv,
  createPublicKey,
  hkdfSync,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { ml_kem768_x25519 as xWing } from '@noble/post-quantum/hybrid.js';

/** Key material as the owner of a key wraps it for a service: by other libraries than the engines'. */

/** A wrapping key as the service answers. */
export interface WrappingKey {
  readonly wrapping_key_id: string;
  readonly alg: string;
  readonly public: { readonly pubkey_b64: string; readonly spki_b64: string };
  readonly info?: string;
}

export function wrapFor(key: WrappingKey, secret: Uint8Array): Buffer {
  return key.alg === 'rsa-4096' ? wrapByRsa(key, secret) : wrapByHpke(key, secret);
}

/** CKM_RSA_AES_KEY_WRAP of PKCS#11, with SHA-256 and MGF1 with SHA-256: as Vault and AWS KMS take it. */
function wrapByRsa({ public: { spki_b64 } }: WrappingKey, secret: Uint8Array): Buffer {
  const aesKey = randomBytes(32);
  const encrypted = publicEncrypt(
    {
      key: createPublicKey({ key: Buffer.from(spki_b64, 'base64'), format: 'der', type: 'spki' }),
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: 'sha256',
    },
    aesKey,
  );
  return Buffer.concat([encrypted, padWrap(aesKey, secret)]);
}

/** RFC 5649. */
export function padWrap(key: Uint8Array, secret: Uint8Array): Buffer {
  const cipher = createCipheriv('id-aes256-wrap-pad', key, Buffer.from('a65959a6', 'hex'));
  return Buffer.concat([cipher.update(secret), cipher.final()]);
}

/** HPKE base mode (RFC 9180) with X-Wing (0x647A), HKDF-SHA256 and AES-256-GCM; no aad. */
function wrapByHpke({ public: { pubkey_b64 }, info = '' }: WrappingKey, secret: Uint8Array): Buffer {
  const { cipherText: enc, sharedSecret } = xWing.encapsulate(Buffer.from(pubkey_b64, 'base64'));
  const { key, nonce } = keySchedule(sharedSecret, Buffer.from(info));
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([enc, cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
}

const suite = Buffer.concat([Buffer.from('HPKE'), Buffer.from('647a00010002', 'hex')]);
const labeled = (label: string, ikm: Uint8Array) =>
  Buffer.concat([Buffer.from('HPKE-v1'), suite, Buffer.from(label), ikm]);

function keySchedule(shared: Uint8Array, info: Uint8Array) {
  const none = new Uint8Array();
  const pskIdHash = extract(sha256, labeled('psk_id_hash', none), none);
  const infoHash = extract(sha256, labeled('info_hash', info), none);
  const context = Buffer.concat([Buffer.of(0), pskIdHash, infoHash]);
  const secret = extract(sha256, labeled('secret', none), shared);
  const expandTo = (label: string, length: number) =>
    expand(sha256, secret, Buffer.concat([Buffer.of(0, length), labeled(label, context)]), length);
  return { key: expandTo('key', 32), nonce: expandTo('base_nonce', 12) };
}

/** HKDF-SHA256 (RFC 5869) with an empty salt, by OpenSSL. */
export function hkdf(secret: Uint8Array, label: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', label, bytes));
}
