/** The sets of algorithms that the surface is measured with; read by the loop of the engine too. */

export const encryptingNames = ['xaes-256-gcm', 'aes-256-gcm', 'chacha20-poly1305'] as const;

/** The first is the one that a caller has who names none. */
export const wrappingNames = ['x25519+ml-kem-768', 'ml-kem-768', 'x25519', 'aes-256-gcm'] as const;

/** Keys of one part. */
export const generatedNames = [
  ...(['ed25519', 'ml-dsa-44', 'ml-dsa-65', 'mldsa65-ed25519'] as const),
  ...(['x25519+ml-kem-768', 'xaes-256-gcm'] as const),
] as const;

export const signingNames = [
  'ed25519',
  'ml-dsa-44',
  'ml-dsa-65',
  'mldsa44-ed25519',
  'mldsa65-ed25519',
] as const;

/** Two keys, two signatures: the engine's cost is the sum of both. */
export const hybrid = { name: 'ed25519+ml-dsa-65', parts: ['ed25519', 'ml-dsa-65'] } as const;

export const plaintextBytes = 1_024;
/** A data key. */
export const wrappedBytes = 32;
