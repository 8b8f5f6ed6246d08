import { type KeyObject, verify } from 'node:crypto';

/** DER of AlgorithmIdentifier in hex, and the digest that goes with it; null where the algorithm has its own. */
const digests: ReadonlyMap<string, string | null> = new Map([
  // sha256, sha384 and sha512 with RSA PKCS #1 v1.5 (RFC 4055).
  ['300d06092a864886f70d01010b0500', 'sha256'],
  ['300d06092a864886f70d01010c0500', 'sha384'],
  ['300d06092a864886f70d01010d0500', 'sha512'],
  // ECDSA (RFC 5758).
  ['300a06082a8648ce3d040302', 'sha256'],
  ['300a06082a8648ce3d040303', 'sha384'],
  ['300a06082a8648ce3d040304', 'sha512'],
  // Ed25519 (RFC 8410), and ML-DSA-44, -65 and -87 (RFC 9881).
  ['300506032b6570', null],
  ['300b0609608648016503040311', null],
  ['300b0609608648016503040312', null],
  ['300b0609608648016503040313', null],
]);

/** True if the algorithm is one of those that are taken, and the signature is this key's. */
export function isX509SignatureBy(
  publicKey: KeyObject,
  algorithm: Uint8Array,
  signed: Uint8Array,
  signature: Uint8Array,
): boolean {
  const digest = digests.get(Buffer.from(algorithm).toString('hex'));
  if (digest === undefined) return false;
  try {
    return verify(digest, signed, publicKey, signature);
  } catch {
    return false;
  }
}
