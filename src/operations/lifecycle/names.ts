import type { Algorithm } from '../../algorithms/descriptor.ts';
import { findAlgorithm } from '../../algorithms/registry.ts';
import { ownMember } from '../../core/own-member.ts';
import type { KeyHandle } from '../../keys/keyring.ts';

/** Algorithms by other names than ours. One key has one algorithm, so that no name means two. */
const typesByName: Readonly<Record<string, string>> = { 'aes-256': 'aes-256-gcm' };

const schemesByName: Readonly<Record<string, string>> = {
  eddsa: 'ed25519',
  'rsa-pss-sha256': 'PS256',
  'rsa-pkcs1v15-sha256': 'RS256',
};

const namesOfTypes: Readonly<Record<string, string>> = {
  'rsa-2048': 'RSA-2048',
  'rsa-3072': 'RSA-3072',
  'rsa-4096': 'RSA-4096',
  ed25519: 'Ed25519',
  'aes-256-gcm': 'AES-256',
};

const namesOfSchemes: Readonly<Record<string, string>> = {
  ed25519: 'EdDSA',
  PS256: 'RSA-PSS-SHA256',
  RS256: 'RSA-PKCS1v15-SHA256',
  'aes-256-gcm': 'AES-256-GCM',
  'chacha20-poly1305': 'CHACHA20-POLY1305',
};

/** The algorithm of keys of this type: RSA-2048, Ed25519, AES-256 or a name of ours, any case. */
export function algorithmOfType(keyType: string): Algorithm | undefined {
  const name = keyType.toLowerCase();
  return findAlgorithm(ownMember(typesByName, name) ?? name);
}

/** The type of keys of this algorithm, as others name it; our name where they have none. */
export function typeOfAlgorithm(alg: string): string {
  return ownMember(namesOfTypes, alg) ?? alg;
}

/** A scheme of ours as others name it: EdDSA, RSA-PSS-SHA256, …; our name where they have none. */
export function standardSchemeName(alg: string): string {
  return ownMember(namesOfSchemes, alg) ?? alg;
}

/** Our name of the way that `alg` names, for a key with one part; the key's first where it is undefined. Undefined: not of this key. */
export function schemeNamed({ algorithm }: KeyHandle, alg: string | undefined): string | undefined {
  const [{ schemes }] = algorithm.components;
  if (alg === undefined) return schemes[0].alg;
  const name = alg.toLowerCase();
  const wanted = (ownMember(schemesByName, name) ?? name).toLowerCase();
  const found = schemes.find((scheme) => scheme.alg.toLowerCase() === wanted);
  return found?.alg ?? (wanted === algorithm.name ? schemes[0].alg : undefined);
}

/** Bits of an RSA modulus, a curve's order or a secret key; of other public keys those of the key itself. */
export function keySizeBits({ name, kind }: Algorithm, publicKeys: readonly Uint8Array[]): number {
  if (kind !== 'signature') return 256;
  const size = /^(?:rsa-|ecdsa-p)(\d+)$/.exec(name)?.[1];
  if (size !== undefined) return Number(size);
  return 8 * publicKeys.reduce((bytes, { length }) => bytes + length, 0);
}
