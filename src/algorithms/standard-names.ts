import { type KeyType, keyTypes, type Scheme, schemes } from './ids.ts';

/** Names that standards give to keys and signatures of the registry. */

/** A public key as a JSON Web Key: EC and RSA (RFC 7518), OKP (RFC 8037), AKP (RFC 9964). `alg` where the type has only one. */
export type JwkName =
  | { readonly kty: 'OKP' | 'EC'; readonly crv: string; readonly alg?: string }
  | { readonly kty: 'RSA' }
  | { readonly kty: 'AKP'; readonly alg: string };

export const jwkNames: ReadonlyMap<KeyType, JwkName> = new Map<KeyType, JwkName>([
  [keyTypes.ed25519, { kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA' }],
  [keyTypes.x25519, { kty: 'OKP', crv: 'X25519' }],
  [keyTypes['ecdsa-p256'], { kty: 'EC', crv: 'P-256', alg: 'ES256' }],
  [keyTypes['ecdsa-p384'], { kty: 'EC', crv: 'P-384', alg: 'ES384' }],
  [keyTypes['rsa-2048'], { kty: 'RSA' }],
  [keyTypes['rsa-3072'], { kty: 'RSA' }],
  [keyTypes['rsa-4096'], { kty: 'RSA' }],
  [keyTypes['ml-dsa-44'], { kty: 'AKP', alg: 'ML-DSA-44' }],
  [keyTypes['ml-dsa-65'], { kty: 'AKP', alg: 'ML-DSA-65' }],
  [keyTypes['ml-dsa-87'], { kty: 'AKP', alg: 'ML-DSA-87' }],
]);

/** Key types of SSH: RFC 8709, RFC 5656 with its name of the curve, RFC 4253. */
export interface SshName {
  readonly type: 'ssh-ed25519' | 'ecdsa-sha2-nistp256' | 'ecdsa-sha2-nistp384' | 'ssh-rsa';
  readonly curve?: string;
}

export const sshNames: ReadonlyMap<KeyType, SshName> = new Map<KeyType, SshName>([
  [keyTypes.ed25519, { type: 'ssh-ed25519' }],
  [keyTypes['ecdsa-p256'], { type: 'ecdsa-sha2-nistp256', curve: 'nistp256' }],
  [keyTypes['ecdsa-p384'], { type: 'ecdsa-sha2-nistp384', curve: 'nistp384' }],
  [keyTypes['rsa-2048'], { type: 'ssh-rsa' }],
  [keyTypes['rsa-3072'], { type: 'ssh-rsa' }],
  [keyTypes['rsa-4096'], { type: 'ssh-rsa' }],
]);

/** `alg` of a JSON Web Signature, for schemes that make its signatures as they are (RFC 7518, RFC 8037, RFC 9964). */
export const jwsNames: ReadonlyMap<Scheme, string> = new Map<Scheme, string>([
  [schemes.ed25519, 'EdDSA'],
  [schemes['ecdsa-p256-sha256-p1363'], 'ES256'],
  [schemes['ecdsa-p384-sha384-p1363'], 'ES384'],
  [schemes.ps256, 'PS256'],
  [schemes.ps384, 'PS384'],
  [schemes.ps512, 'PS512'],
  [schemes.rs256, 'RS256'],
  [schemes.rs384, 'RS384'],
  [schemes.rs512, 'RS512'],
  [schemes['ml-dsa-44'], 'ML-DSA-44'],
  [schemes['ml-dsa-65'], 'ML-DSA-65'],
  [schemes['ml-dsa-87'], 'ML-DSA-87'],
]);

/**
 * AlgorithmIdentifier, DER in hexadecimal, of X.509 signatures. `asKey`: it is that of the public key (RFC 8410, RFC 9881,
 * draft-ietf-lamps-pq-composite-sigs).
 */
export const x509Signatures: ReadonlyMap<Scheme, string> = new Map<Scheme, string>([
  [schemes.ed25519, 'asKey'],
  [schemes['ml-dsa-44'], 'asKey'],
  [schemes['ml-dsa-65'], 'asKey'],
  [schemes['ml-dsa-87'], 'asKey'],
  [schemes['mldsa65-ed25519'], 'asKey'],
  [schemes['mldsa44-ed25519'], 'asKey'],
  [schemes['mldsa65-p256'], 'asKey'],
  [schemes['ecdsa-p256-sha256'], '300a06082a8648ce3d040302'], // RFC 5758
  [schemes['ecdsa-p384-sha384'], '300a06082a8648ce3d040303'],
  [schemes.rs256, '300d06092a864886f70d01010b0500'], // RFC 4055
]);
