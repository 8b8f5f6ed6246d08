import { createHmac, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { BoundedCache } from '../../core/bounded-cache.ts';

const info = 'intaglio/mac/v1\0';
const keyBytes = 32;
/** The service has one purpose; more than a handful is a bug. */
const maxPurposes = 16;

export interface Authenticator {
  mac(root: KeyObject, purpose: string, message: Uint8Array): Uint8Array;
  wipe(): void;
}

/** HMAC-SHA-256 under keys that are derived from a root key, one for each purpose. */
export function createAuthenticator(): Authenticator {
  let derived = new WeakMap<KeyObject, BoundedCache<string, KeyObject>>();

  function keyOf(root: KeyObject, purpose: string): KeyObject {
    const keys = derived.get(root) ?? new BoundedCache<string, KeyObject>(maxPurposes);
    derived.set(root, keys);
    const key = keys.get(purpose) ?? derive(root, purpose);
    keys.set(purpose, key);
    return key;
  }

  return {
    mac: (root, purpose, message) => createHmac('sha256', keyOf(root, purpose)).update(message).digest(),
    wipe() {
      derived = new WeakMap();
    },
  };
}

function derive(root: KeyObject, purpose: string): KeyObject {
  const bytes = Buffer.from(hkdfSync('sha256', root, '', `${info}${purpose}`, keyBytes));
  try {
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}
