import { createPrivateKey, createPublicKey, hash, sign } from 'node:crypto';
import { type NoteSigner, noteKey, type SignatureType, signatureTypes } from '../../src/audit/format/note.ts';

const pkcs8Prefix = {
  [signatureTypes.ed25519]: '302e020100300506032b657004220420',
  [signatureTypes.ed25519Cosignature]: '302e020100300506032b657004220420',
  [signatureTypes.mlDsa44]: '3034020100300b060960864801650304031104228020',
} as const;

/** A signer whose key is made from 32 bytes of seed, held by node:crypto. */
export function signerFromSeed(name: string, type: SignatureType, seed: Uint8Array): NoteSigner {
  const key = createPrivateKey({
    key: Buffer.concat([Buffer.from(pkcs8Prefix[type], 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const publicKey = spki.subarray(type === signatureTypes.mlDsa44 ? -1312 : -32);
  return {
    vkey: noteKey(name, type, publicKey).vkey,
    sign: (message) => Promise.resolve(sign(null, message, key)),
  };
}

/** The two signers of the test log, with the keys of test/audit/vectors. */
export function logSigners(origin = 'kms.example/audit/1'): readonly [NoteSigner, NoteSigner] {
  return [
    signerFromSeed(origin, signatureTypes.ed25519, seedOf('audit-log test seed')),
    signerFromSeed(origin, signatureTypes.mlDsa44, seedOf('audit-log ml-dsa seed')),
  ];
}

export function seedOf(text: string): Uint8Array {
  return Buffer.from(hash('sha256', text, 'hex'), 'hex');
}
