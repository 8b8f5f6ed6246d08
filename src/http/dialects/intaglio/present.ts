import type { Algorithm, Component } from '../../../algorithms/descriptor.ts';
import { encodeBase64 } from '../../../core/bytes.ts';
import type { SignedEvidence } from '../../../custody/key-evidence.ts';
import type { UseReceipt } from '../../../operations/operation.ts';

/** UTC in RFC 3339 with milliseconds. */
export function timestamp(utcMs: number): string {
  return new Date(utcMs).toISOString();
}

export interface PublicComponent {
  readonly alg: string;
  readonly pubkey_b64: string;
  readonly spki_b64: string;
  /** Of a KEM key. */
  readonly hpke?: PublicSuite;
}

interface PublicSuite {
  readonly kem_id: number;
  readonly kdf_id: number;
  readonly aead_id: number;
  readonly source: string;
}

/**
 * A public key for clients. `pubkey_b64` has the algorithm's standard bytes (RFC 8032, FIPS 204, SEC1 uncompressed, for
 * RSA SubjectPublicKeyInfo); `spki_b64` is SubjectPublicKeyInfo (RFC 5280) in DER, which any library reads. A hybrid key
 * has both parts, and as its own `pubkey_b64` their concatenation. Undefined: the key is secret and has no public part.
 */
export function presentPublicKey(
  algorithm: Algorithm,
  publicKeys: readonly Uint8Array[],
): PublicComponent | PublicHybrid | undefined {
  if (algorithm.components.some(({ spkiPrefix }) => spkiPrefix === undefined)) return undefined;
  const components = algorithm.components.map((component, index) =>
    presentComponent(component, publicKeys[index] as Uint8Array),
  );
  const [only] = components;
  if (components.length === 1 && only !== undefined)
    return { ...only, alg: algorithm.name, ...presentSuite(algorithm) };
  return { alg: algorithm.name, pubkey_b64: encodeBase64(Buffer.concat(publicKeys)), components };
}

function presentSuite({ hpke }: Algorithm): { readonly hpke?: PublicSuite } {
  if (hpke === undefined) return {};
  const { kemId: kem_id, kdfId: kdf_id, aeadId: aead_id, kemSource: source } = hpke;
  return { hpke: { kem_id, kdf_id, aead_id, source } };
}

const nothing = new Uint8Array(0);

export interface PublicHybrid {
  readonly alg: string;
  readonly pubkey_b64: string;
  readonly components: readonly PublicComponent[];
}

function presentComponent(component: Component, publicKey: Uint8Array): PublicComponent {
  return {
    alg: component.schemes[0].alg,
    pubkey_b64: encodeBase64(publicKey),
    spki_b64: encodeBase64(Buffer.concat([component.spkiPrefix ?? nothing, publicKey])),
  };
}

export function presentReceipt({ kid, index, seq, salt }: UseReceipt) {
  return salt === undefined ? { kid, index, seq } : { kid, index, seq, salt_b64: encodeBase64(salt) };
}

/** Evidence of a key's residence, a JWS of both attestation keys (docs/attestation.md). */
export function presentEvidence({ kid, class: name, jws }: SignedEvidence) {
  return { kid, class: name, evidence: jws };
}
