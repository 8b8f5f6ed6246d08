import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type KeyType, keyTypes } from '../../algorithms/ids.ts';
import { registry } from '../../algorithms/registry.ts';
import { attributes as a } from './numbers.ts';

/** The public key of a pair as the product has it, from attributes that the token shows. Undefined where they are none. */
export function publicKeyIn(
  keyType: KeyType,
  attribute: (type: number) => Buffer | undefined,
): Uint8Array | undefined {
  switch (keyType) {
    case keyTypes['rsa-2048']:
    case keyTypes['rsa-3072']:
    case keyTypes['rsa-4096']:
      return rsaKey(attribute(a.modulus), attribute(a.publicExponent));
    case keyTypes.ed25519:
      return pointIn(attribute(a.ecPoint), 32);
    case keyTypes['ecdsa-p256']:
      return pointIn(attribute(a.ecPoint), 65);
    case keyTypes['ecdsa-p384']:
      return pointIn(attribute(a.ecPoint), 97);
    default:
      return attribute(a.value);
  }
}

/** SubjectPublicKeyInfo, as all RSA keys are here. */
function rsaKey(modulus: Buffer | undefined, exponent: Buffer | undefined): Uint8Array | undefined {
  if (modulus === undefined || exponent === undefined) return undefined;
  const n = modulus.toString('base64url');
  const e = exponent.toString('base64url');
  return createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' }).export({
    format: 'der',
    type: 'spki',
  });
}

/** Inside an OCTET STRING, as PKCS#11 has it, or as it is, as some tokens have it. */
function pointIn(value: Buffer | undefined, bytes: number): Uint8Array | undefined {
  if (value === undefined) return undefined;
  if (value.length === bytes) return value;
  const wrapped = value[0] === 0x04 && value[1] === bytes && value.length === bytes + 2;
  return wrapped ? value.subarray(2) : undefined;
}

const components = new Map(
  registry.flatMap((algorithm) => algorithm.components.map((each) => [each.keyType, each] as const)),
);

export function keyObjectOf(keyType: KeyType, publicKey: Uint8Array): KeyObject {
  const prefix = components.get(keyType)?.spkiPrefix ?? new Uint8Array(0);
  return createPublicKey({ key: Buffer.concat([prefix, publicKey]), format: 'der', type: 'spki' });
}

/** True if the signature is one over this message by the first scheme of the key type. Blocking. */
export function isSignedBy(
  keyType: KeyType,
  publicKey: Uint8Array,
  message: Buffer,
  signature: Uint8Array,
): boolean {
  let key: KeyObject;
  try {
    key = keyObjectOf(keyType, publicKey);
  } catch {
    // No point of the curve, for one.
    return false;
  }
  switch (key.asymmetricKeyType) {
    case 'rsa':
      // RSASSA-PSS with a salt as long as the hash.
      return verify('sha256', message, { key, padding: 6, saltLength: 32 }, signature);
    case 'ec':
      return verify(keyType === keyTypes['ecdsa-p384'] ? 'sha384' : 'sha256', message, key, signature);
    default:
      return verify(null, message, key, signature);
  }
}
