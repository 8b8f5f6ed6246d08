import { constants, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { maxSignatureBytes } from '../batch.ts';
import { type KeyType, keyTypes, type Scheme, schemes } from '../engine.ts';
import { compositeScheme } from './composite.ts';
import { isCanonicalPoint } from './ed25519-points.ts';
import { type SignatureScheme, single } from './keys.ts';
import { asBuffer, parseRaw } from './raw-keys.ts';

const ed25519: SignatureScheme = {
  kind: 'signature',
  keyTypes: [keyTypes.ed25519],
  sign: ({ bytes }, key) => sign(null, bytes, single(key)),
  parsePublic: (bytes) => parseRaw(bytes, 'ed25519', 32),
  verify: ({ bytes }, key, publicBytes, signature) =>
    signature.length === 64 && isCanonicalPoint(publicBytes) && verify(null, bytes, single(key), signature),
};

/** node:crypto has pure Ed25519 only. */
const ed25519ph: SignatureScheme = { ...ed25519, unavailable: true };

const mlDsa = (
  name: 'ml-dsa-44' | 'ml-dsa-65' | 'ml-dsa-87',
  publicKeyBytes: 1312 | 1952 | 2592,
): SignatureScheme => ({
  kind: 'signature',
  keyTypes: [keyTypes[name]],
  takesContext: true,
  sign: ({ bytes, context }, key) => sign(null, bytes, { key: single(key), context }),
  parsePublic: (bytes) => parseRaw(bytes, name, publicKeyBytes),
  verify: ({ bytes, context }, key, _publicBytes, signature) =>
    signature.length === maxSignatureBytes[schemes[name]] &&
    verify(null, bytes, { key: single(key), context }, signature),
});

const uncompressedPoint = 4;

interface Curve {
  readonly namedCurve: 'P-256' | 'P-384';
  readonly keyType: KeyType;
  readonly pointBytes: number;
  readonly digest: 'sha256' | 'sha384';
}
const p256 = {
  namedCurve: 'P-256',
  keyType: keyTypes['ecdsa-p256'],
  pointBytes: 65,
  digest: 'sha256',
} as const;
const p384 = {
  namedCurve: 'P-384',
  keyType: keyTypes['ecdsa-p384'],
  pointBytes: 97,
  digest: 'sha384',
} as const;

/** `dsaEncoding`: DER of at most, or r || s of exactly, so many bytes. */
const ecdsa = (
  { namedCurve, keyType, pointBytes, digest }: Curve,
  dsaEncoding: 'der' | 'ieee-p1363',
  maxBytes: number,
): SignatureScheme => ({
  kind: 'signature',
  keyTypes: [keyType],
  sign: ({ bytes }, key) => sign(digest, bytes, { key: single(key), dsaEncoding }),
  // OpenSSL would also take the hybrid forms of X9.62, whose first byte is 6 or 7.
  parsePublic: (bytes) =>
    bytes[0] === uncompressedPoint ? parseRaw(bytes, 'ec', pointBytes, { namedCurve }) : undefined,
  verify: ({ bytes }, key, _publicBytes, signature) =>
    (dsaEncoding === 'der' ? signature.length <= maxBytes : signature.length === maxBytes) &&
    verify(digest, bytes, { key: single(key), dsaEncoding }, signature),
});
const ecdsaP256 = ecdsa(p256, 'der', 72);

const rsa = (
  digest: 'sha256' | 'sha384' | 'sha512',
  padding: { padding: number; saltLength?: number },
): SignatureScheme => ({
  kind: 'signature',
  keyTypes: [keyTypes['rsa-2048'], keyTypes['rsa-3072'], keyTypes['rsa-4096']],
  sign: ({ bytes }, key) => sign(digest, bytes, { key: single(key), ...padding }),
  parsePublic: parseRsa,
  verify: ({ bytes }, key, _publicBytes, signature) =>
    signature.length === modulusBytes(single(key)) &&
    verify(digest, bytes, { key: single(key), ...padding }, signature),
});
const pss = (saltLength: number) => ({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength });
const pkcs1 = { padding: constants.RSA_PKCS1_PADDING };

const mlDsa44 = mlDsa('ml-dsa-44', 1312);
const mlDsa65 = mlDsa('ml-dsa-65', 1952);

export const signatureSchemes = {
  [schemes.ed25519]: ed25519,
  [schemes['ml-dsa-44']]: mlDsa44,
  [schemes['ml-dsa-65']]: mlDsa65,
  [schemes['ml-dsa-87']]: mlDsa('ml-dsa-87', 2592),
  [schemes['ecdsa-p256-sha256']]: ecdsaP256,
  [schemes['ecdsa-p256-sha256-p1363']]: ecdsa(p256, 'ieee-p1363', 64),
  [schemes['ecdsa-p384-sha384']]: ecdsa(p384, 'der', 104),
  [schemes['ecdsa-p384-sha384-p1363']]: ecdsa(p384, 'ieee-p1363', 96),
  [schemes.ps256]: rsa('sha256', pss(32)),
  [schemes.ps384]: rsa('sha384', pss(48)),
  [schemes.ps512]: rsa('sha512', pss(64)),
  [schemes.rs256]: rsa('sha256', pkcs1),
  [schemes.rs384]: rsa('sha384', pkcs1),
  [schemes.rs512]: rsa('sha512', pkcs1),
  [schemes.ed25519ph]: ed25519ph,
  [schemes['mldsa65-ed25519']]: compositeScheme({
    keyType: keyTypes['mldsa65-ed25519'],
    label: 'COMPSIG-MLDSA65-Ed25519-SHA512',
    mlDsa: mlDsa65,
    publicBytes: 1952,
    signatureBytes: 3309,
    traditional: ed25519,
  }),
  [schemes['mldsa44-ed25519']]: compositeScheme({
    keyType: keyTypes['mldsa44-ed25519'],
    label: 'COMPSIG-MLDSA44-Ed25519-SHA512',
    mlDsa: mlDsa44,
    publicBytes: 1312,
    signatureBytes: 2420,
    traditional: ed25519,
  }),
  [schemes['mldsa65-p256']]: compositeScheme({
    keyType: keyTypes['mldsa65-p256'],
    label: 'COMPSIG-MLDSA65-ECDSA-P256-SHA512',
    mlDsa: mlDsa65,
    publicBytes: 1952,
    signatureBytes: 3309,
    traditional: ecdsaP256,
  }),
} as const satisfies Partial<Record<Scheme, SignatureScheme>>;

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
