import {
  constants,
  createHmac,
  createPublicKey,
  type KeyObject,
  type SignKeyObjectInput,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto';
import { maxSignatureBytes } from '../batch.ts';
import { type KeyType, keyTypes, type Scheme, type SigningScheme, schemes } from '../engine.ts';
import { isSealingScheme } from '../rooms.ts';
import { isCanonicalPoint } from './ed25519-points.ts';
import { asBuffer, parseRaw } from './raw-keys.ts';

/**
 * One entry a scheme: which key types it takes, and how node:crypto does it.
 * The one-shot crypto.sign and crypto.verify are used: createSign cannot do Ed25519 or ML-DSA, and is no faster for
 * ECDSA and RSA (measured on Node 24.21: 18 and 230 us either way).
 */
export interface SignatureScheme {
  readonly kind: 'signature';
  readonly keyTypes: readonly KeyType[];
  /** The key argument of sign(), made once when a key is opened. */
  signingInput(key: KeyObject): KeyObject | SignKeyObjectInput;
  sign(message: Uint8Array, input: KeyObject | SignKeyObjectInput): Buffer;
  /** Undefined when the bytes are no public key of this scheme. */
  parsePublic(bytes: Uint8Array): KeyObject | undefined;
  verify(message: Uint8Array, publicKey: KeyObject, publicBytes: Uint8Array, signature: Uint8Array): boolean;
}

export interface MacScheme {
  readonly kind: 'mac';
  readonly keyTypes: readonly KeyType[];
  mac(message: Uint8Array, key: KeyObject): Buffer;
  /** In constant time for a tag of the right length; one of another length is not equal. */
  verify(message: Uint8Array, key: KeyObject, tag: Uint8Array): boolean;
}

export type OpensslScheme = SignatureScheme | MacScheme;

const keyItself = (key: KeyObject) => key;

const ed25519: SignatureScheme = {
  kind: 'signature',
  keyTypes: [keyTypes.ed25519],
  signingInput: keyItself,
  sign: (message, key) => sign(null, message, key),
  parsePublic: (bytes) => parseRaw(bytes, 'ed25519', 32),
  verify: (message, key, publicBytes, signature) =>
    signature.length === 64 && isCanonicalPoint(publicBytes) && verify(null, message, key, signature),
};

const mlDsa = (
  name: 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87',
  publicKeyBytes: 1312 | 1952 | 2592,
): SignatureScheme => ({
  kind: 'signature',
  keyTypes: [keyTypes[name]],
  signingInput: keyItself,
  sign: (message, key) => sign(null, message, key),
  parsePublic: (bytes) => parseRaw(bytes, name, publicKeyBytes),
  verify: (message, key, _publicBytes, signature) =>
    signature.length === maxSignatureBytes[schemes[name]] && verify(null, message, key, signature),
});

const uncompressedPoint = 4;
const ecdsa: SignatureScheme = {
  kind: 'signature',
  keyTypes: [keyTypes['ecdsa-p256']],
  signingInput: keyItself,
  sign: (message, key) => sign('sha256', message, key),
  // OpenSSL would also take the hybrid forms of X9.62, whose first byte is 6 or 7.
  parsePublic: (bytes) =>
    bytes[0] === uncompressedPoint ? parseRaw(bytes, 'ec', 65, { namedCurve: 'P-256' }) : undefined,
  verify: (message, key, _publicBytes, signature) =>
    signature.length <= maxSignatureBytes[schemes['ecdsa-p256-sha256']] &&
    verify('sha256', message, key, signature),
};

const rsa = (padding: { padding: number; saltLength?: number }): SignatureScheme => ({
  kind: 'signature',
  keyTypes: [keyTypes['rsa-2048'], keyTypes['rsa-3072'], keyTypes['rsa-4096']],
  signingInput: (key) => ({ key, ...padding }),
  sign: (message, input) => sign('sha256', message, input),
  parsePublic: parseRsa,
  verify: (message, key, _publicBytes, signature) =>
    signature.length === modulusBytes(key) && verify('sha256', message, { key, ...padding }, signature),
});

const hmac: MacScheme = {
  kind: 'mac',
  keyTypes: [keyTypes['hmac-sha256']],
  mac: (message, key) => createHmac('sha256', key).update(message).digest(),
  verify(message, key, tag) {
    const expected = hmac.mac(message, key);
    return tag.length === expected.length && timingSafeEqual(expected, tag);
  },
};

export const opensslSchemes: Readonly<Record<SigningScheme, OpensslScheme>> = {
  [schemes.ed25519]: ed25519,
  [schemes['ml-dsa-44']]: mlDsa('ml-dsa-44', 1312),
  [schemes['ml-dsa-65']]: mlDsa('ml-dsa-65', 1952),
  [schemes['ml-dsa-87']]: mlDsa('ml-dsa-87', 2592),
  [schemes['ecdsa-p256-sha256']]: ecdsa,
  [schemes.ps256]: rsa({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
  [schemes.rs256]: rsa({ padding: constants.RSA_PKCS1_PADDING }),
  [schemes['hmac-sha256']]: hmac,
};

export function isScheme(number: number): number is Scheme {
  return Object.hasOwn(opensslSchemes, number) || isSealingScheme(number as Scheme);
}

/** The longest SPKI of RSA-4096 has 550 bytes; more is not parsed at all. */
const maxRsaSpkiBytes = 600;
const modulusLengths: readonly (number | undefined)[] = [2048, 3072, 4096];

function parseRsa(bytes: Uint8Array): KeyObject | undefined {
  if (bytes.length > maxRsaSpkiBytes) return undefined;
  try {
    const key = createPublicKey({ key: asBuffer(bytes), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType !== 'rsa') return undefined;
    if (!isRsaPublicKey(key)) return undefined;
    // OpenSSL reads BER and ignores what follows; only the canonical DER encodes back to itself.
    return key.export({ format: 'der', type: 'spki' }).equals(bytes) ? key : undefined;
  } catch {
    return undefined;
  }
}

/** AWS-LC's demands on an RSA public key that OpenSSL does not make: an odd modulus, an odd exponent of at most 33 bits. */
function isRsaPublicKey(key: KeyObject): boolean {
  const { modulusLength, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
  if (!modulusLengths.includes(modulusLength)) return false;
  if (publicExponent < 3n || publicExponent >= 1n << 33n || publicExponent % 2n === 0n) return false;
  const modulus = Buffer.from(key.export({ format: 'jwk' }).n ?? '', 'base64url');
  return (modulus[modulus.length - 1] as number) % 2 === 1;
}

export function modulusBytes(key: KeyObject): number {
  return (key.asymmetricKeyDetails?.modulusLength ?? 0) / 8;
}
