import { constants, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { type Scheme, schemes } from '../../src/engine/engine.ts';

/** A scheme as node:crypto's sign and verify have it. */
interface NodeWay {
  readonly hash: 'sha256' | 'sha384' | 'sha512' | null;
  readonly options?: {
    readonly padding?: number;
    readonly saltLength?: number;
    readonly dsaEncoding?: 'der' | 'ieee-p1363';
  };
}

const pss = (saltLength: number) => ({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
const p1363 = { dsaEncoding: 'ieee-p1363' } as const;

const ways: Partial<Record<Scheme, NodeWay>> = {
  [schemes.ed25519]: { hash: null },
  [schemes['ml-dsa-44']]: { hash: null },
  [schemes['ml-dsa-65']]: { hash: null },
  [schemes['ml-dsa-87']]: { hash: null },
  [schemes['ecdsa-p256-sha256']]: { hash: 'sha256' },
  [schemes['ecdsa-p256-sha256-p1363']]: { hash: 'sha256', options: p1363 },
  [schemes['ecdsa-p384-sha384']]: { hash: 'sha384' },
  [schemes['ecdsa-p384-sha384-p1363']]: { hash: 'sha384', options: p1363 },
  [schemes.ps256]: { hash: 'sha256', options: pss(32) },
  [schemes.ps384]: { hash: 'sha384', options: pss(48) },
  [schemes.ps512]: { hash: 'sha512', options: pss(64) },
  [schemes.rs256]: { hash: 'sha256' },
  [schemes.rs384]: { hash: 'sha384' },
  [schemes.rs512]: { hash: 'sha512' },
};

/** Schemes that node:crypto has itself. */
export function nodeHas(scheme: Scheme): boolean {
  return ways[scheme] !== undefined;
}

export function nodeVerify(
  scheme: Scheme,
  key: KeyObject,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  const { hash, options } = ways[scheme] as NodeWay;
  return verify(hash, message, { key, ...options }, signature);
}

export function nodeSign(scheme: Scheme, key: KeyObject, message: Uint8Array): Uint8Array {
  const { hash, options } = ways[scheme] as NodeWay;
  return sign(hash, message, { key, ...options });
}

/** The key in these standard bytes: raw, an uncompressed point, or SubjectPublicKeyInfo. */
export function nodePublicKey(name: string, publicKey: Uint8Array): KeyObject {
  const key = Buffer.from(publicKey);
  if (name.startsWith('rsa')) return createPublicKey({ key, format: 'der', type: 'spki' });
  const namedCurve = { 'ecdsa-p256': 'P-256', 'ecdsa-p384': 'P-384' }[name];
  return namedCurve === undefined
    ? createPublicKey({ key, format: 'raw-public', asymmetricKeyType: name as 'ed25519' })
    : createPublicKey({ key, format: 'raw-public', asymmetricKeyType: 'ec', namedCurve });
}
