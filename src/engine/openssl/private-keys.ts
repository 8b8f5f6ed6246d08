import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  generateKeySync,
  type KeyObject,
} from 'node:crypto';
import { type KeyType, keyTypes } from '../engine.ts';
import { compositeKeyType } from './composite.ts';
import { type EngineKey, type OpensslKeyType, single } from './keys.ts';
import { xWingPublicKey } from './x-wing.ts';

type MlDsaName = 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87';

const pkcs8 = { format: 'der', type: 'pkcs8' } as const;

const ed25519: OpensslKeyType = {
  uniformBytes: 32,
  generate: () => generateKeyPairSync('ed25519').privateKey,
  exportSecret: (key) => single(key).export({ format: 'raw-private' }),
  importSecret: (secret) =>
    createPrivateKey({ key: secret, format: 'raw-private', asymmetricKeyType: 'ed25519' }),
  exportPublic: (key) => createPublicKey(single(key)).export({ format: 'raw-public' }),
};

const mlDsa = (name: MlDsaName): OpensslKeyType => ({
  uniformBytes: 32,
  generate: () => generateMlDsa(name),
  exportSecret: (key) => single(key).export({ format: 'raw-seed' }),
  importSecret: (secret) => createPrivateKey({ key: secret, format: 'raw-seed', asymmetricKeyType: name }),
  exportPublic: (key) => createPublicKey(single(key)).export({ format: 'raw-public' }),
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
const exportPoint = (key: EngineKey) => createPublicKey(single(key)).export({ format: 'raw-public' });

interface Curve {
  readonly namedCurve: 'P-256' | 'P-384';
  readonly opensslName: string;
  /** Of the base point (SP 800-186), as scalars are written. */
  readonly order: Buffer;
}
const curveP256: Curve = {
  namedCurve: 'P-256',
  opensslName: 'prime256v1',
  order: Buffer.from('ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551', 'hex'),
};
const curveP384: Curve = {
  namedCurve: 'P-384',
  opensslName: 'secp384r1',
  order: Buffer.from(
    'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
    'hex',
  ),
};

/** OpenSSL takes any scalar, and any public key beside it. Throws unless the scalar is one, and the public key is its own. */
function requireSound(key: KeyObject, { namedCurve, opensslName, order }: Curve): KeyObject {
  if (key.asymmetricKeyDetails?.namedCurve !== opensslName) throw new TypeError('not a key of this curve');
  const scalar = key.export({ format: 'raw-private' });
  try {
    const inRange = scalar.some((byte) => byte !== 0) && Buffer.compare(scalar, order) < 0;
    if (!inRange) throw new TypeError('not a scalar of this curve');
    const own = createPrivateKey({ key: scalar, format: 'raw-private', asymmetricKeyType: 'ec', namedCurve });
    if (!exportPoint(own).equals(exportPoint(key)))
      throw new TypeError('the public key is of another scalar');
    return key;
  } finally {
    scalar.fill(0);
  }
}

const ecdsa = (curve: Curve): OpensslKeyType => ({
  generate: () => generateKeyPairSync('ec', { namedCurve: curve.namedCurve }).privateKey,
  exportSecret: (key) => single(key).export(pkcs8),
  importSecret: (secret) => requireSound(createPrivateKey({ key: secret, ...pkcs8 }), curve),
  exportPublic: exportPoint,
});
const ecdsaP256 = ecdsa(curveP256);

/** ECPrivateKey (RFC 5915) in DER with the curve and without the public key, so that all but the scalar is the same. */
const ecPrivateKeyHead = Buffer.from('30310201010420', 'hex');
const ecPrivateKeyTail = Buffer.from('a00a06082a8648ce3d030107', 'hex');
const scalarBytes = 32;
const p256InComposite: OpensslKeyType = {
  generate: ecdsaP256.generate,
  exportSecret(key) {
    const scalar = single(key).export({ format: 'raw-private' });
    const secret = Buffer.allocUnsafeSlow(ecPrivateKeyHead.length + scalarBytes + ecPrivateKeyTail.length);
    secret.set(ecPrivateKeyHead);
    secret.set(scalar, ecPrivateKeyHead.length);
    secret.set(ecPrivateKeyTail, ecPrivateKeyHead.length + scalarBytes);
    scalar.fill(0);
    return secret;
  },
  importSecret(secret) {
    const scalarEnd = ecPrivateKeyHead.length + scalarBytes;
    const fits =
      ecPrivateKeyHead.equals(secret.subarray(0, ecPrivateKeyHead.length)) &&
      ecPrivateKeyTail.equals(secret.subarray(scalarEnd));
    if (!fits) throw new TypeError('not an ECPrivateKey of P-256');
    const key = secret.subarray(ecPrivateKeyHead.length, scalarEnd);
    const imported = createPrivateKey({
      key,
      format: 'raw-private',
      asymmetricKeyType: 'ec',
      namedCurve: 'P-256',
    });
    return requireSound(imported, curveP256);
  },
  exportPublic: exportPoint,
};

const rsa = (modulusLength: number): OpensslKeyType => ({
  generate: () => generateKeyPairSync('rsa', { modulusLength, publicExponent: 65537 }).privateKey,
  exportSecret: (key) => single(key).export(pkcs8),
  importSecret: (secret) => {
    const key = createPrivateKey({ key: secret, ...pkcs8 });
    if (key.asymmetricKeyType !== 'rsa' || key.asymmetricKeyDetails?.modulusLength !== modulusLength) {
      throw new TypeError('not an RSA key of this size');
    }
    return key;
  },
  exportPublic: (key) => createPublicKey(single(key)).export({ format: 'der', type: 'spki' }),
});

const x25519: OpensslKeyType = {
  uniformBytes: 32,
  generate: () => generateKeyPairSync('x25519').privateKey,
  exportSecret: (key) => single(key).export({ format: 'raw-private' }),
  importSecret: (secret) =>
    createPrivateKey({ key: secret, format: 'raw-private', asymmetricKeyType: 'x25519' }),
  exportPublic: (key) => createPublicKey(single(key)).export({ format: 'raw-public' }),
};

const mlKem = (name: 'ml-kem-768' | 'ml-kem-1024'): OpensslKeyType => ({
  uniformBytes: 64,
  generate: () =>
    name === 'ml-kem-768'
      ? generateKeyPairSync('ml-kem-768').privateKey
      : generateKeyPairSync('ml-kem-1024').privateKey,
  exportSecret: (key) => single(key).export({ format: 'raw-seed' }),
  importSecret: (secret) => createPrivateKey({ key: secret, format: 'raw-seed', asymmetricKeyType: name }),
  exportPublic: (key) => createPublicKey(single(key)).export({ format: 'raw-public' }),
});

const secretKeyBytes = 32;
const secretKey: OpensslKeyType = {
  uniformBytes: secretKeyBytes,
  generate: () => generateKeySync('hmac', { length: secretKeyBytes * 8 }),
  exportSecret: (key) => single(key).export(),
  importSecret: (secret) => {
    if (secret.length !== secretKeyBytes) throw new TypeError('a secret key has 32 bytes');
    return createSecretKey(secret);
  },
  exportPublic: () => Buffer.alloc(0),
};

/** The seed is the private key; node:crypto knows its two halves only. */
const xWing: OpensslKeyType = { ...secretKey, exportPublic: (key) => xWingPublicKey(single(key)) };

const keyTypesHere: Readonly<Record<KeyType, OpensslKeyType>> = {
  [keyTypes.ed25519]: ed25519,
  [keyTypes['ml-dsa-44']]: mlDsa('ml-dsa-44'),
  [keyTypes['ml-dsa-65']]: mlDsa('ml-dsa-65'),
  [keyTypes['ml-dsa-87']]: mlDsa('ml-dsa-87'),
  [keyTypes['ecdsa-p256']]: ecdsaP256,
  [keyTypes['ecdsa-p384']]: ecdsa(curveP384),
  [keyTypes['mldsa65-ed25519']]: compositeKeyType(mlDsa('ml-dsa-65'), ed25519),
  [keyTypes['mldsa44-ed25519']]: compositeKeyType(mlDsa('ml-dsa-44'), ed25519),
  [keyTypes['mldsa65-p256']]: compositeKeyType(mlDsa('ml-dsa-65'), p256InComposite),
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

export function generatePrivateKey(keyType: KeyType): EngineKey {
  return keyTypesHere[keyType].generate();
}

/** The secret of a key in a buffer of its own; the caller wipes it. */
export function exportSecret(keyType: KeyType, key: EngineKey): Buffer {
  return keyTypesHere[keyType].exportSecret(key);
}

/** Does not wipe `secret`. Returns undefined when the bytes are no secret of this type. */
export function importSecret(keyType: KeyType, secret: Buffer): EngineKey | undefined {
  try {
    return keyTypesHere[keyType].importSecret(secret);
  } catch {
    return undefined;
  }
}

export function publicBytesOf(keyType: KeyType, key: EngineKey): Buffer {
  return keyTypesHere[keyType].exportPublic(key);
}

/** The length of a secret that is uniform bytes; undefined: it has a structure. */
export function uniformBytesOf(keyType: KeyType): number | undefined {
  return keyTypesHere[keyType].uniformBytes;
}
