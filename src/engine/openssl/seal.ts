import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomFillSync,
} from 'node:crypto';
import { BoundedCache } from '../../core/bounded-cache.ts';
import type { KeyType } from '../engine.ts';
import { isKeyType } from './private-keys.ts';

/**
 * The sealed format, version 1, the same in every engine:
 * u8 version = 1 | u8 aead = 1 (AES-256-GCM) | u16le keyType | nonce[12] | ciphertext | tag[16]
 * under HKDF-SHA-256(root key, no salt, "intaglio/seal/v1\0" + tenant), with the first four bytes and the aad as
 * additional data. Random nonces: SP 800-38D allows 2^32 of them a key, and each tenant has a key of its own.
 */
const version = 1;
const aeadAes256Gcm = 1;
const headerBytes = 4;
const nonceBytes = 12;
const tagBytes = 16;
const keyBytes = 32;
const info = Buffer.from('intaglio/seal/v1\0');
const noSalt = Buffer.alloc(0);

/** A tenant's key costs two HMACs to derive again; 1,024 of them hold a few hundred KiB. */
const tenantKeyCacheEntries = 1024;

export interface Sealer {
  /** Does not wipe `secret`. */
  seal(root: KeyObject, keyType: KeyType, tenant: Uint8Array, aad: Uint8Array, secret: Uint8Array): Buffer;
  /** The caller wipes `secret`, which is a buffer of its own. Undefined when the blob does not open. */
  open(root: KeyObject, tenant: Uint8Array, aad: Uint8Array, sealed: Uint8Array): OpenedSecret | undefined;
  wipe(): void;
}

export interface OpenedSecret {
  readonly keyType: KeyType;
  readonly secret: Buffer;
}

export function createSealer(): Sealer {
  let tenantKeys = new WeakMap<KeyObject, BoundedCache<string, KeyObject>>();

  function tenantKey(root: KeyObject, tenant: Uint8Array): KeyObject {
    let ofRoot = tenantKeys.get(root);
    if (ofRoot === undefined) {
      ofRoot = new BoundedCache(tenantKeyCacheEntries);
      tenantKeys.set(root, ofRoot);
    }
    // Latin-1 keeps different bytes different; UTF-8 would fold malformed sequences into one.
    const name = Buffer.from(tenant.buffer, tenant.byteOffset, tenant.length).toString('latin1');
    let key = ofRoot.get(name);
    if (key === undefined) {
      key = deriveTenantKey(root, tenant);
      ofRoot.set(name, key);
    }
    return key;
  }

  return {
    seal(root, keyType, tenant, aad, secret) {
      const head = Buffer.alloc(headerBytes + nonceBytes);
      head[0] = version;
      head[1] = aeadAes256Gcm;
      head.writeUInt16LE(keyType, 2);
      const nonce = randomFillSync(head.subarray(headerBytes));
      const cipher = createCipheriv('aes-256-gcm', tenantKey(root, tenant), nonce);
      cipher.setAAD(Buffer.concat([head.subarray(0, headerBytes), aad]));
      const ciphertext = cipher.update(secret);
      cipher.final();
      return Buffer.concat([head, ciphertext, cipher.getAuthTag()]);
    },

    open(root, tenant, aad, sealed) {
      if (sealed.length < headerBytes + nonceBytes + tagBytes) return undefined;
      const keyType = (sealed[2] as number) | ((sealed[3] as number) << 8);
      if (sealed[0] !== version || sealed[1] !== aeadAes256Gcm || !isKeyType(keyType)) return undefined;
      const body = headerBytes + nonceBytes;
      const tagAt = sealed.length - tagBytes;
      const nonce = sealed.subarray(headerBytes, body);
      const decipher = createDecipheriv('aes-256-gcm', tenantKey(root, tenant), nonce, {
        authTagLength: tagBytes,
      });
      decipher.setAAD(Buffer.concat([sealed.subarray(0, headerBytes), aad]));
      decipher.setAuthTag(sealed.subarray(tagAt));
      const secret = decipher.update(sealed.subarray(body, tagAt));
      try {
        decipher.final();
      } catch {
        secret.fill(0);
        return undefined;
      }
      return { keyType, secret };
    },

    wipe() {
      tenantKeys = new WeakMap();
    },
  };
}

function deriveTenantKey(root: KeyObject, tenant: Uint8Array): KeyObject {
  const bytes = Buffer.from(hkdfSync('sha256', root, noSalt, Buffer.concat([info, tenant]), keyBytes));
  try {
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}
