import { createHash } from 'node:crypto';
import { spkiOf } from '../../algorithms/public-formats.ts';
import { x509Signatures } from '../../algorithms/standard-names.ts';
import type { KeyHandle } from '../../keys/keyring.ts';

/** SHA-256 of SubjectPublicKeyInfo, in hex; undefined for a key that signs no certificates. */
export function spkiSha256Of({ algorithm, version: { kid, parts } }: KeyHandle): string | undefined {
  const spki = spkiOf({ kid, algorithm, publicKeys: parts.map(({ publicKey }) => publicKey) });
  const signs = algorithm.components[0].schemes.some(({ scheme }) => x509Signatures.has(scheme));
  return spki === undefined || !signs ? undefined : sha256OfSpki(spki);
}

export function sha256OfSpki(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('hex');
}
