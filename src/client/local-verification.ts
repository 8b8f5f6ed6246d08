import { ed25519 } from '@noble/curves/ed25519.js';
import { p256, p384 } from '@noble/curves/nist.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { hexToBytes } from '@noble/hashes/utils.js';
import { ml_dsa44, ml_dsa65, ml_dsa87 } from '@noble/post-quantum/ml-dsa.js';
import { fromBase64 } from './bytes.ts';

/** A public key as the service shows it: `public` of a version in `GET /v1/kms/keys/{kid}`. */
export interface PublicKey {
  readonly alg: string;
  readonly pubkey_b64: string;
  readonly spki_b64?: string;
  readonly components?: readonly PublicKey[];
}

/** As `sigs[]` of an answer to a sign request. */
export interface Signature {
  readonly kid: string;
  readonly alg: string;
  readonly signature_b64: string;
}

export interface SignedText {
  /** BLAKE3-256 of the payload in hex; or `message`, the signed bytes themselves. Exactly one. */
  readonly payloadB3?: string;
  readonly message?: Uint8Array;
  readonly context?: Uint8Array;
}

type Check = (
  message: Uint8Array,
  key: PublicKey,
  signature: Uint8Array,
  context: Uint8Array,
) => boolean | Promise<boolean>;

const raw = ({ pubkey_b64 }: PublicKey): Uint8Array => fromBase64(pubkey_b64);

const pureEd25519: Check = (message, key, signature, { length }) =>
  length === 0 && ed25519.verify(signature, message, raw(key), { zip215: false });

function mlDsa(of: typeof ml_dsa65): Check {
  return (message, key, signature, context) => of.verify(signature, message, raw(key), { context });
}

function ecdsa(of: typeof p256, format: 'der' | 'compact'): Check {
  // Those of RFC 3279 and of JWA may have either s.
  return (message, key, signature, { length }) =>
    length === 0 && of.verify(signature, message, raw(key), { format, lowS: false, prehash: true });
}

function rsa(name: 'RSA-PSS' | 'RSASSA-PKCS1-v1_5', bits: 256 | 384 | 512): Check {
  const hash = `SHA-${bits}`;
  return async (message, { spki_b64 = '' }, signature, { length }) => {
    if (length > 0) return false;
    const { subtle } = globalThis.crypto;
    const key = await subtle.importKey('spki', fromBase64(spki_b64), { name, hash }, false, ['verify']);
    const way = name === 'RSA-PSS' ? { name, saltLength: bits / 8 } : { name };
    return subtle.verify(way, key, Uint8Array.from(signature), Uint8Array.from(message));
  };
}

/** M' of draft-ietf-lamps-pq-composite-sigs: Prefix || Label || len(ctx) || ctx || SHA-512(M). */
const compositePrefix = new TextEncoder().encode('CompositeAlgorithmSignatures2025');

function composite(label: string, one: typeof ml_dsa65, other: 'ed25519' | 'p256'): Check {
  const own = new TextEncoder().encode(label);
  const { publicKey: keyBytes = 0, signature: signatureBytes = 0 } = one.lengths;
  return (message, key, signature, context) => {
    const inner = joined(compositePrefix, own, Uint8Array.of(context.length), context, sha512(message));
    const publicKey = raw(key);
    const first = signature.subarray(0, signatureBytes);
    const second = signature.subarray(signatureBytes);
    if (!one.verify(first, inner, publicKey.subarray(0, keyBytes), { context: own })) return false;
    const traditional = publicKey.subarray(keyBytes);
    return other === 'ed25519'
      ? ed25519.verify(second, inner, traditional, { zip215: false })
      : p256.verify(second, inner, traditional, { format: 'der', lowS: false, prehash: true });
  };
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const checks: ReadonlyMap<string, Check> = new Map<string, Check>([
  ['ed25519', pureEd25519],
  ['ml-dsa-44', mlDsa(ml_dsa44)],
  ['ml-dsa-65', mlDsa(ml_dsa65)],
  ['ml-dsa-87', mlDsa(ml_dsa87)],
  ['ecdsa-p256', ecdsa(p256, 'der')],
  ['ES256', ecdsa(p256, 'compact')],
  ['ecdsa-p384', ecdsa(p384, 'der')],
  ['ES384', ecdsa(p384, 'compact')],
  ['PS256', rsa('RSA-PSS', 256)],
  ['PS384', rsa('RSA-PSS', 384)],
  ['PS512', rsa('RSA-PSS', 512)],
  ['RS256', rsa('RSASSA-PKCS1-v1_5', 256)],
  ['RS384', rsa('RSASSA-PKCS1-v1_5', 384)],
  ['RS512', rsa('RSASSA-PKCS1-v1_5', 512)],
  ['mldsa65-ed25519', composite('COMPSIG-MLDSA65-Ed25519-SHA512', ml_dsa65, 'ed25519')],
  ['mldsa44-ed25519', composite('COMPSIG-MLDSA44-Ed25519-SHA512', ml_dsa44, 'ed25519')],
  ['mldsa65-p256', composite('COMPSIG-MLDSA65-ECDSA-P256-SHA512', ml_dsa65, 'p256')],
]);

/** The names of signatures, `alg` of `sigs[]`, that are verified without the service. */
export const locallyVerified: readonly string[] = [...checks.keys()];

/**
 * True if every signature is valid and they cover all parts of each key (of a hybrid key both): the mode `and` of the service.
 * `keyOf` gives the public key of a kid with its version. False where an algorithm is not known here, or the bytes are none.
 */
export async function verifySignatures(
  signed: SignedText,
  signatures: readonly Signature[],
  keyOf: (kid: string) => PublicKey | undefined,
): Promise<boolean> {
  if (signatures.length === 0) return false;
  const message = messageOf(signed);
  const made = new Map<string, Set<string>>();
  for (const { kid, alg, signature_b64 } of signatures) {
    const key = keyOf(kid);
    if (key === undefined) return false;
    if (!(await verifyOne(message, alg, partOf(key, alg), signature_b64, signed.context))) return false;
    made.set(kid, (made.get(kid) ?? new Set()).add(alg));
  }
  for (const [kid, algs] of made) {
    const parts = keyOf(kid)?.components ?? [];
    if (parts.some(({ alg }) => !algs.has(alg))) return false;
  }
  return true;
}

function messageOf({ payloadB3, message }: SignedText): Uint8Array {
  if ((payloadB3 === undefined) === (message === undefined))
    throw new TypeError('give exactly one of payloadB3 and message');
  return message ?? hexToBytes(payloadB3 as string);
}

function partOf(key: PublicKey, alg: string): PublicKey | undefined {
  return key.components === undefined ? key : key.components.find((part) => part.alg === alg);
}

/** Ways of a key: a signature by another algorithm than the key's is none of it. */
const ecdsaWays: Readonly<Record<string, string>> = { ES256: 'ecdsa-p256', ES384: 'ecdsa-p384' };

function suits(key: PublicKey, alg: string): boolean {
  if (/^[PR]S(256|384|512)$/.test(alg)) return /^rsa-|^[PR]S/.test(key.alg);
  return (ecdsaWays[alg] ?? alg) === key.alg;
}

async function verifyOne(
  message: Uint8Array,
  alg: string,
  key: PublicKey | undefined,
  signature_b64: string,
  context: Uint8Array = new Uint8Array(0),
): Promise<boolean> {
  const check = checks.get(alg);
  if (check === undefined || key === undefined || !suits(key, alg)) return false;
  try {
    return await check(message, key, fromBase64(signature_b64), context);
  } catch {
    // Malformed keys and signatures verify nothing.
    return false;
  }
}
