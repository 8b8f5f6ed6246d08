import { createPublicKey, hash, verify } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { ml_dsa44, ml_dsa65 } from '@noble/post-quantum/ml-dsa.js';

/** Composite ML-DSA once more, by nobody's code of the engines: draft-ietf-lamps-pq-composite-sigs. */
export const compositeNames = ['mldsa65-ed25519', 'mldsa44-ed25519', 'mldsa65-p256'] as const;
export type CompositeName = (typeof compositeNames)[number];

export function isComposite(alg: string): alg is CompositeName {
  return (compositeNames as readonly string[]).includes(alg);
}

interface CompositeFacts {
  readonly label: string;
  readonly mlDsa: 'ml-dsa-44' | 'ml-dsa-65';
  readonly keyBytes: number;
  readonly signatureBytes: number;
}

export const compositeFacts: Readonly<Record<CompositeName, CompositeFacts>> = {
  'mldsa65-ed25519': { label: 'COMPSIG-MLDSA65-Ed25519-SHA512', ...of('ml-dsa-65') },
  'mldsa44-ed25519': { label: 'COMPSIG-MLDSA44-Ed25519-SHA512', ...of('ml-dsa-44') },
  'mldsa65-p256': { label: 'COMPSIG-MLDSA65-ECDSA-P256-SHA512', ...of('ml-dsa-65') },
};

function of(mlDsa: CompositeFacts['mlDsa']) {
  return mlDsa === 'ml-dsa-44'
    ? { mlDsa, keyBytes: 1312, signatureBytes: 2420 }
    : { mlDsa, keyBytes: 1952, signatureBytes: 3309 };
}

/** M' of the draft. */
export function representative(alg: CompositeName, message: Uint8Array, context: Uint8Array): Buffer {
  return Buffer.concat([
    Buffer.from(`CompositeAlgorithmSignatures2025${compositeFacts[alg].label}`),
    Buffer.of(context.length),
    context,
    hash('sha512', message, 'buffer'),
  ]);
}

/** With noble, or with OpenSSL as Node has it. */
export function verifiesComposite(
  library: 'noble' | 'node',
  alg: CompositeName,
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
  context: Uint8Array = new Uint8Array(0),
): boolean {
  const { label, mlDsa, keyBytes, signatureBytes } = compositeFacts[alg];
  const signed = representative(alg, message, context);
  const own = { context: Buffer.from(label) };
  const keys = [publicKey.subarray(0, keyBytes), publicKey.subarray(keyBytes)] as const;
  const sigs = [signature.subarray(0, signatureBytes), signature.subarray(signatureBytes)] as const;
  if (library === 'noble') {
    const first = (mlDsa === 'ml-dsa-44' ? ml_dsa44 : ml_dsa65).verify(sigs[0], signed, keys[0], own);
    const second =
      alg === 'mldsa65-p256'
        ? p256.verify(sigs[1], signed, keys[1], { format: 'der', lowS: false })
        : ed25519.verify(sigs[1], signed, keys[1], { zip215: false });
    return first && second;
  }
  const raw = { key: Buffer.from(keys[0]), format: 'raw-public', asymmetricKeyType: mlDsa } as const;
  const first = verify(null, signed, { key: createPublicKey(raw), ...own }, sigs[0]);
  const other = { key: Buffer.from(keys[1]), format: 'raw-public' } as const;
  return (
    first &&
    (alg === 'mldsa65-p256'
      ? verify(
          'sha256',
          signed,
          createPublicKey({ ...other, asymmetricKeyType: 'ec', namedCurve: 'P-256' }),
          sigs[1],
        )
      : verify(null, signed, createPublicKey({ ...other, asymmetricKeyType: 'ed25519' }), sigs[1]))
  );
}
