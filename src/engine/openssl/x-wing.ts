import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

/** X-Wing (draft-connolly-cfrg-xwing-kem-10): ML-KEM-768 and X25519, both from one seed of 32 bytes. */
export interface XWingHalves {
  readonly mlKem: KeyObject;
  readonly x25519: KeyObject;
}

const mlKemSeedBytes = 64;
const expandedBytes = 96;

/** expandDecapsulationKey: SHAKE-256 of the seed is d || z of ML-KEM, then the private key of X25519. */
export function xWingHalves(key: KeyObject): XWingHalves {
  let made = halves.get(key);
  if (made === undefined) {
    made = expand(key);
    halves.set(key, made);
  }
  return made;
}

/** Made once for each open key, and gone with it. */
const halves = new WeakMap<KeyObject, XWingHalves>();

function expand(key: KeyObject): XWingHalves {
  const seed = key.export();
  const expanded = createHash('shake256', { outputLength: expandedBytes }).update(seed).digest();
  try {
    return {
      mlKem: createPrivateKey({
        key: expanded.subarray(0, mlKemSeedBytes),
        format: 'raw-seed',
        asymmetricKeyType: 'ml-kem-768',
      }),
      x25519: createPrivateKey({
        key: expanded.subarray(mlKemSeedBytes),
        format: 'raw-private',
        asymmetricKeyType: 'x25519',
      }),
    };
  } finally {
    seed.fill(0);
    expanded.fill(0);
  }
}

/** The public key of ML-KEM, then that of X25519. */
export function xWingPublicKey(key: KeyObject): Buffer {
  const { mlKem, x25519 } = xWingHalves(key);
  return Buffer.concat([mlKem, x25519].map((half) => createPublicKey(half).export({ format: 'raw-public' })));
}
