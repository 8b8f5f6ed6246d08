import { createPrivateKey, createPublicKey, hash, sign } from 'node:crypto';
import { type NoteSigner, noteKey, signatureTypes } from '../../../src/audit/format/note.ts';

const prefixes = {
  ed25519: '302e020100300506032b657004220420',
  mlDsa44: '3034020100300b060960864801650304031104228020',
} as const;

/** A signer whose key comes from a seed, so that a test's next start has the same one. */
export function seededSigner(type: keyof typeof prefixes, origin: string, seed = 'seed'): NoteSigner {
  const der = Buffer.concat([
    Buffer.from(prefixes[type], 'hex'),
    hash('sha256', `${type} ${seed}`, 'buffer'),
  ]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const publicKey = spki.subarray(type === 'ed25519' ? -32 : -1312);
  const { vkey } = noteKey(origin, signatureTypes[type], publicKey);
  return { vkey, sign: async (message) => sign(null, message, key) };
}
