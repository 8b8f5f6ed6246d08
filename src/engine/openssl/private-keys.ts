import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  generateKeySync,
  type KeyObject,
} from 'node:crypto';
import { type KeyType, keyTypes } from '../engine.ts';
import { xWingPublicKey } from './x-wing.ts';

/**
 * Key types as node:crypto sees them. The secret of a type is what a sealed blob holds: the 32-byte seed of Ed25519
 * (RFC 8032) and ML-DSA (xi of FIPS 204), PKCS#8 DER (RFC 5208) of ECDSA and RSA, d || z of ML-KEM (FIPS 203), the 32 bytes of
 * X25519 (RFC 7748), of X-Wing and of secret keys.
 */
interface OpensslKeyType {
  generate(): KeyObject;
  exportSecret(key: KeyObject): Buffer;
  /** Throws when the bytes are no secret of this type. */
  importSecret(secret: Buffer): KeyObject;
  /** The public bytes of a private key; none of a secret one. */
  exportPublic(key: KeyObject): Buffer;
  /** The length of a secret that is uniform bytes. */
  readonly uniformBytes?: number;
}

type MlDsaName = 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87';

const pkcs8 = { format: 'der', type: 'pkcs8' } as const;

const ed25519: OpensslKeyType = {
  uniformBytes: 32,
  generate: () => generateKeyPairSync('ed25519').privateKey,
  exportSecret: (key) => key.export({ format: 'raw-private' }),
  importSecret: (secret) =>
    createPrivateKey({ key: secret, format: 'raw-private', asymmetricKeyType: 'ed25519' }),
  exportPublic: (key) => createPublicKey(key).export({ format: 'raw-public' }),
};

const mlDsa = (name: MlDsaName): OpensslKeyType => ({
  uniformBytes: 32,
  generate: () => generateMlDsa(name),
  exportSecret: (key) => key.export({ format: 'raw-seed' }),
  importSecret: (secret) => createPrivateKey({ key: secret, format: 'raw-seed', asymmetricKeyType: name }),
  exportPublic: (key) => createPublicKey(key).export({ format: 'raw-public' }),
});

/** One overload of generateKeyPairSync a name. */
function generateMlDsa(name: MlDsaName): KeyObject {
  switch (name) {
    case 'ml-dsa-44':
      return generateKeyPairSync('ml-dsa-44').privateKey;
    case 'ml-dsa-65':
      return generateKeyPairSync('ml-dsa-65').privateKey;
    case 'ml-dsa-87':
      return generateKeyPairSync('ml-dsa-87').privateKey;
  }
}

// Node exports the raw public key of a curve in the uncompressed form unless told otherwise.
const ecdsaP256: OpensslKeyType = {
  generate: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  exportSecret: (key) => key.export(pkcs8),
  importSecret: (secret) => {
    const key = createPrivateKey({ key: secret, ...pkcs8 });
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('not a P-256 key');
    return key;
  },
  exportPublic: (key) => createPublicKey(key).export({ format: 'raw-public' }),
};

const rsa = (modulusLength: number): OpensslKeyType => ({
  generate: () => generateKeyPairSync('rsa', { modulusLength, publicExponent: 65537 }).privateKey,
  exportSecret: (key) => key.export(pkcs8),
  importSecret: (secret) => {
    const key = createPrivateKey({ key: secret, ...pkcs8 });
    if (key.asymmetricKeyType !== 'rsa' || key.asymmetricKeyDetails?.modulusLength !== modulusLength) {
      throw new TypeError('not an RSA key of this size');
    }
    return key;
  },
  exportPublic: (key) => createPublicKey(key).export({ format: 'der', type: 'spki' }),
});

const x25519: OpensslKeyType = {
  uniformBytes: 32,
  generate: () => generateKeyPairSync('x25519').privateKey,
  exportSecret: (key) => key.export({ format: 'raw-private' }),
  importSecret: (secret) =>
    createPrivateKey({ key: secret, format: 'raw-private', asymmetricKeyType: 'x25519' }),
  exportPublic: (key) => createPublicKey(key).export({ format: 'raw-public' }),
};

const mlKem = (name: 'ml-kem-768' | 'ml-kem-1024'): OpensslKeyType => ({
  uniformBytes: 64,
  generate: () =>
    name === 'ml-kem-768'
      ? generateKeyPairSync('ml-kem-768').privateKey
      : generateKeyPairSync('ml-kem-1024').privateKey,
  exportSecret: (key) => key.export({ format: 'raw-seed' }),
  importSecret: (secret) => createPrivateKey({ key: secret, format: 'raw-seed', asymmetricKeyType: name }),
  exportPublic: (key) => createPublicKey(key).export({ format: 'raw-public' }),
});

const secretKeyBytes = 32;
const secretKey: OpensslKeyType = {
  uniformBytes: secretKeyBytes,
  generate: () => generateKeySync('hmac', { length: secretKeyBytes * 8 }),
  exportSecret: (key) => key.export(),
  importSecret: (secret) => {
    if (secret.length !== secretKeyBytes) throw new TypeError('a secret key has 32 bytes');
    return createSecretKey(secret);
  },
  exportPublic: () => Buffer.alloc(0),
};

/** The seed is the private key; node:crypto knows its two halves only. */
const xWing: OpensslKeyType = { ...secretKey, exportPublic: xWingPublicKey };

const keyTypesHere: Readonly<Record<KeyType, OpensslKeyType>> = {
  [keyTypes.ed25519]: ed25519,
  [keyTypes['ml-dsa-44']]: mlDsa('ml-dsa-44'),
  [keyTypes['ml-dsa-65']]: mlDsa('ml-dsa-65'),
  [keyTypes['ml-dsa-87']]: mlDsa('ml-dsa-87'),
  [keyTypes['ecdsa-p256']]: ecdsaP256,
  [keyTypes['rsa-2048']]: rsa(2048),
  [keyTypes['rsa-3072']]: rsa(3072),
  [keyTypes['rsa-4096']]: rsa(4096),
  [keyTypes.x25519]: x25519,
  [keyTypes['ml-kem-768']]: mlKem('ml-kem-768'),
  [keyTypes['ml-kem-1024']]: mlKem('ml-kem-1024'),
  [keyTypes['x25519+ml-kem-768']]: xWing,
  [keyTypes['hmac-sha256']]: secretKey,
  [keyTypes['aes-256-gcm']]: secretKey,
  [keyTypes['chacha20-poly1305']]: secretKey,
  [keyTypes['xaes-256-gcm']]: secretKey,
  [keyTypes['aes-256-kwp']]: secretKey,
  [keyTypes['hkdf-sha256']]: secretKey,
};

export function isKeyType(number: number): number is KeyType {
  return Object.hasOwn(keyTypesHere, number);
}

export function generatePrivateKey(keyType: KeyType): KeyObject {
  return keyTypesHere[keyType].generate();
}

/** The secret of a key in a buffer of its own; the caller wipes it. */
export function exportSecret(keyType: KeyType, key: KeyObject): Buffer {
  return keyTypesHere[keyType].exportSecret(key);
}

/** Does not wipe `secret`. Returns undefined when the bytes are no secret of this type. */
export function importSecret(keyType: KeyType, secret: Buffer): KeyObject | undefined {
  try {
    return keyTypesHere[keyType].importSecret(secret);
  } catch {
    return undefined;
  }
}

export function publicBytesOf(keyType: KeyType, key: KeyObject): Buffer {
  return keyTypesHere[keyType].exportPublic(key);
}

/** The length of a secret that is uniform bytes; undefined: it has a structure. */
export function uniformBytesOf(keyType: KeyType): number | undefined {
  return keyTypesHere[keyType].uniformBytes;
}
