import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { isComposite, verifiesComposite } from './composites.ts';

/** A public key as the service shows it; a hybrid key has `components`. */
export interface ShownKey {
  readonly alg: string;
  readonly pubkey_b64: string;
  readonly spki_b64?: string;
  readonly components?: readonly ShownKey[];
}

/** The key that a signature of this `alg` was made with: the key itself, or one of its components. */
export function componentFor(shown: ShownKey, alg: string): ShownKey {
  return shown.components?.find((component) => component.alg === alg) ?? shown;
}

/** With OpenSSL as Node has it, from the SubjectPublicKeyInfo: what any client could do. */
export function nodeVerifies(
  alg: string,
  shown: ShownKey,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  return nodeVerifier(componentFor(shown, alg))(alg, message, signature);
}

/** The same for many signatures by one key, which is parsed once. */
export function nodeVerifier(
  shown: ShownKey,
): (alg: string, message: Uint8Array, signature: Uint8Array) => boolean {
  if (isComposite(shown.alg)) {
    const publicKey = Buffer.from(shown.pubkey_b64, 'base64');
    const composite = shown.alg;
    return (_alg, message, signature) => verifiesComposite('node', composite, publicKey, message, signature);
  }
  const key: KeyObject = createPublicKey({
    key: Buffer.from(shown.spki_b64 as string, 'base64'),
    format: 'der',
    type: 'spki',
  });
  return (alg, message, signature) => {
    switch (alg) {
      case 'ecdsa-p256':
        return verify('sha256', message, { key, dsaEncoding: 'der' }, signature);
      case 'ecdsa-p384':
        return verify('sha384', message, { key, dsaEncoding: 'der' }, signature);
      case 'PS256':
        return verify(
          'sha256',
          message,
          { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
          signature,
        );
      case 'RS256':
        return verify('sha256', message, { key, padding: constants.RSA_PKCS1_PADDING }, signature);
      default:
        return verify(null, message, key, signature);
    }
  };
}

const mlDsa = { 'ml-dsa-44': ml_dsa44, 'ml-dsa-65': ml_dsa65, 'ml-dsa-87': ml_dsa87 };

/** With noble, from the raw public key; undefined where noble is not asked. */
export function nobleVerifies(
  alg: string,
  shown: ShownKey,
  message: Uint8Array,
  signature: Uint8Array,
): boolean | undefined {
  const publicKey = Buffer.from(componentFor(shown, alg).pubkey_b64, 'base64');
  if (isComposite(alg)) return verifiesComposite('noble', alg, publicKey, message, signature);
  if (alg === 'ed25519') return ed25519.verify(signature, message, publicKey, { zip215: false });
  return mlDsa[alg as keyof typeof mlDsa]?.verify(signature, message, publicKey);
}
