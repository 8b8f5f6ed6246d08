import { type BatchItem, type BatchResult, batchOps } from '../../src/engine/batch.ts';
import { type GeneratedKey, schemes } from '../../src/engine/engine.ts';

export const kemNames = ['x25519', 'ml-kem-768', 'ml-kem-1024', 'x25519+ml-kem-768'] as const;
export const aeadNames = ['aes-256-gcm', 'chacha20-poly1305', 'xaes-256-gcm'] as const;
export const wrapNames = [...kemNames, ...aeadNames, 'aes-256-kwp'] as const;
export type WrapName = (typeof wrapNames)[number];

interface Runs {
  run(item: Omit<BatchItem, 'keyNumber'>): BatchResult;
  reference(key: GeneratedKey): Uint8Array;
}

/** Wrapping with a key as its kind does it: a KEM with its public key. */
export function wrap({ run, reference }: Runs, name: WrapName) {
  const scheme = schemes[name];
  const wraps = (key: GeneratedKey) =>
    (kemNames as readonly string[]).includes(name) ? key.publicKey : reference(key);
  return {
    wrap: (key: GeneratedKey, plaintext: Uint8Array, info: Uint8Array, aad: Uint8Array) =>
      run({ op: batchOps.wrap, scheme, key: wraps(key), inputs: [plaintext, info, aad] }),
    unwrap: (key: GeneratedKey, wrapped: Uint8Array, info: Uint8Array, aad: Uint8Array) =>
      run({ op: batchOps.unwrap, scheme, key: reference(key), inputs: [wrapped, info, aad] }),
  };
}
