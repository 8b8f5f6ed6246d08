import { ed25519 } from '@noble/curves/ed25519.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js';
import { fromBase64, fromBase64Url } from './bytes.ts';
import { isTpmEvidence, type TpmClaims, tpmKeyName } from './tpm-evidence.ts';

/** The profile of evidence, docs/attestation.md. */
export const evidenceProfile = 'urn:uuid:6d2f3f0e-5a0b-4c63-9f0a-8f4f3f5a7c11';

/** General JWS JSON Serialization (RFC 7515), as `evidence` of an answer has it. */
export interface EvidenceJws {
  readonly payload: string;
  readonly signatures: readonly { readonly protected: string; readonly signature: string }[];
}

/** As `GET /v1/kms/attest` answers, and each of `attestation` of a sign answer. */
export interface KeyEvidence {
  readonly kid: string;
  readonly class: string;
  readonly evidence: EvidenceJws;
}

/** EAT claims (RFC 9711); those that begin with `intaglio_` are private. */
export interface EvidenceClaims {
  readonly iss: string;
  /** The kid with its version. */
  readonly sub: string;
  /** Seconds since 1970. */
  readonly iat: number;
  readonly exp: number;
  readonly eat_profile: string;
  readonly eat_nonce?: string;
  readonly swname: string;
  readonly swversion: readonly [string, number];
  readonly cnf?: { readonly jkt: string };
  readonly intaglio_key: {
    readonly alg: string;
    readonly purpose: string;
    readonly backend: string;
    readonly class: string;
    /** generated, derived, imported, imported_public or adopted. */
    readonly origin: string;
    readonly derived_from?: string;
    readonly public_key_sha256: string;
  };
  readonly intaglio_engine?: {
    readonly name: string;
    readonly libraries: Readonly<Record<string, string>>;
    readonly memory_locked: boolean;
  };
  /** The word of the token's module. */
  readonly submods?: { readonly token: TokenClaims };
}

export interface TokenClaims {
  readonly hwmodel?: string;
  readonly swname: string;
  readonly swversion: readonly [string, number];
  readonly intaglio_token: {
    readonly label: string;
    readonly manufacturer: string;
    readonly model: string;
    readonly serial: string;
    readonly as_of: number;
    readonly keys: readonly Readonly<
      Record<'local' | 'sensitive' | 'always_sensitive' | 'extractable' | 'never_extractable', boolean>
    >[];
  };
  /** Of a TPM, which signs it: for each part of the key. */
  readonly intaglio_tpm?: readonly TpmClaims[];
}

export interface AttestationExpectations {
  /** The verifier keys of the service's audit log that you trust, of both types: GET /v1/kms/audit/vkeys, or better by another way. */
  readonly keys: readonly string[];
  /** With a version; without one any version of that key. */
  readonly kid: string;
  /** The nonce that you sent. Undefined: the evidence must have none. */
  readonly nonce?: string;
  /** The name, in hex, of the key by which that TPM signs, as tpmKeyName gives it. Undefined: any TPM's, which is the service's word. */
  readonly tpm?: string;
  /** Milliseconds since 1970. */
  readonly nowMs?: number;
  /** By which clocks may differ, in milliseconds. */
  readonly toleranceMs?: number;
  /** Where keys were replaced: what was signed after this, in seconds since 1970, does not count by the key of this name and id. */
  readonly notAfter?: Readonly<Record<string, number>>;
}

/**
 * `malformed`: no evidence of this profile. `untrusted_key`: a signature by a key that is not among `keys`, or one type of
 * signature is missing. `bad_signature`. `wrong_kid`, `wrong_nonce`: of another key or call. `wrong_issuer`: the keys are of
 * another log than the claims say. `expired`, `not_yet_valid`. `replaced_key`: signed after its key was replaced.
 * `bad_tpm_evidence`: not signed by its TPM for this key and call. `untrusted_tpm`: by another TPM than the one expected, or by none.
 */
export type AttestationFault =
  | 'malformed'
  | 'untrusted_key'
  | 'bad_signature'
  | 'wrong_kid'
  | 'wrong_nonce'
  | 'wrong_issuer'
  | 'wrong_profile'
  | 'expired'
  | 'not_yet_valid'
  | 'replaced_key'
  | 'bad_tpm_evidence'
  | 'untrusted_tpm';

export type VerifiedAttestation =
  | { readonly ok: true; readonly claims: EvidenceClaims; readonly signedBy: readonly string[] }
  | { readonly ok: false; readonly reason: AttestationFault };

const usualToleranceMs = 2_000;
/** Longer than any evidence of a service. */
const maxPayloadChars = 65_536;

/**
 * Verifies evidence with no service: both signatures, for whom and when it was made. True is what the service says; of a token it
 * says what the token's module said, which is no proof.
 */
export function verifyAttestation(
  { evidence }: Pick<KeyEvidence, 'evidence'>,
  expected: AttestationExpectations,
): VerifiedAttestation {
  const keys = new Map(expected.keys.flatMap((vkey) => parseVkey(vkey) ?? []).map((key) => [key.kid, key]));
  if (!isEvidence(evidence)) return fault('malformed');
  const signed = signatureFault(evidence, keys);
  if (signed !== undefined) return fault(signed);
  const claims = claimsIn(evidence.payload);
  if (claims === undefined) return fault('malformed');
  const kids = evidence.signatures.map((one) => headerIn(one.protected)?.kid ?? '');
  const wrong = claimsFault(claims, kids, keys, expected) ?? tpmFault(claims, expected);
  return wrong === undefined ? { ok: true, claims, signedBy: kids } : fault(wrong);
}

/** The SHA-256 of the claims in hex: as `attestation.sha256` of the audit log's records has it. */
export function evidenceSha256({ evidence }: Pick<KeyEvidence, 'evidence'>): string {
  return bytesToHex(sha256(fromBase64Url(evidence.payload)));
}

function fault(reason: AttestationFault): VerifiedAttestation {
  return { ok: false, reason };
}

export interface VerifierKey {
  /** Name and id, as headers have it. */
  readonly kid: string;
  readonly name: string;
  readonly alg: 'EdDSA' | 'ML-DSA-44';
  readonly publicKey: Uint8Array;
}

/** C2SP signed-note verifier keys: name, 8 hex digits of the id, and type and key in base64. */
export function parseVkey(vkey: string): VerifierKey[] | undefined {
  const [, name = '', id = '', encoded = ''] =
    /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(vkey) ?? [];
  const typed = encoded === '' ? new Uint8Array(0) : fromBase64(encoded);
  const type = types.get(typed[0] ?? 0);
  if (type === undefined || typed.length !== 1 + type.bytes) return undefined;
  const named = new TextEncoder().encode(`${name}\n`);
  const digest = sha256(Uint8Array.from([...named, ...typed]));
  if (bytesToHex(digest.subarray(0, 4)) !== id) return undefined;
  return [{ kid: `${name}+${id}`, name, alg: type.alg, publicKey: typed.subarray(1) }];
}

const types: ReadonlyMap<number, { readonly alg: VerifierKey['alg']; readonly bytes: number }> = new Map([
  [1, { alg: 'EdDSA', bytes: 32 }],
  [6, { alg: 'ML-DSA-44', bytes: 1_312 }],
] as const);

const checks: Readonly<
  Record<VerifierKey['alg'], (signature: Uint8Array, message: Uint8Array, key: Uint8Array) => boolean>
> = {
  EdDSA: (signature, message, key) => ed25519.verify(signature, message, key, { zip215: false }),
  'ML-DSA-44': (signature, message, key) => ml_dsa44.verify(signature, message, key),
};

function isEvidence(value: unknown): value is EvidenceJws {
  const { payload, signatures } = (value ?? {}) as Partial<EvidenceJws>;
  return (
    typeof payload === 'string' &&
    payload.length <= maxPayloadChars &&
    Array.isArray(signatures) &&
    signatures.length === types.size &&
    signatures.every((one) => typeof one?.protected === 'string' && typeof one.signature === 'string')
  );
}

/** One of each type, all of keys that are trusted, all valid: no member of a header is taken on trust. */
function signatureFault(
  { payload, signatures }: EvidenceJws,
  keys: ReadonlyMap<string, VerifierKey>,
): AttestationFault | undefined {
  const found = new Map<string, VerifierKey>();
  for (const { protected: header, signature } of signatures) {
    const told = headerIn(header);
    if (told === undefined) return 'malformed';
    const key = keys.get(told.kid);
    if (key === undefined || key.alg !== told.alg) return 'untrusted_key';
    if (!verifies(key, `${header}.${payload}`, signature)) return 'bad_signature';
    found.set(key.alg, key);
  }
  return found.size === types.size ? undefined : 'untrusted_key';
}

function verifies({ alg, publicKey }: VerifierKey, signed: string, signature: string): boolean {
  try {
    return checks[alg](fromBase64Url(signature), new TextEncoder().encode(signed), publicKey);
  } catch {
    return false;
  }
}

interface Header {
  readonly alg: string;
  readonly kid: string;
}

/** Of evidence: exactly these three members. */
function headerIn(text: string): Header | undefined {
  const value = jsonIn(text);
  if (value === undefined || Object.keys(value).length !== 3) return undefined;
  const { alg, kid, typ } = value;
  return typ === 'eat+jwt' && typeof alg === 'string' && typeof kid === 'string' ? { alg, kid } : undefined;
}

function claimsIn(payload: string): EvidenceClaims | undefined {
  const value = jsonIn(payload);
  if (value === undefined) return undefined;
  const texts = [value.iss, value.sub, value.eat_profile];
  const times = [value.iat, value.exp];
  const whole =
    texts.every((one) => typeof one === 'string') &&
    times.every((one) => typeof one === 'number' && Number.isSafeInteger(one));
  return whole ? (value as unknown as EvidenceClaims) : undefined;
}

function jsonIn(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(fromBase64Url(text)));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Of all parts, where there is any; all by the TPM that is expected. */
function tpmFault(
  { sub, eat_nonce: nonce, cnf, intaglio_key: key, submods }: EvidenceClaims,
  { tpm }: AttestationExpectations,
): AttestationFault | undefined {
  const all = submods?.token.intaglio_tpm ?? [];
  const bound = { kid: sub, nonce, publicKeySha256: key.public_key_sha256, thumbprint: cnf?.jkt };
  if (!Array.isArray(all) || !all.every((one) => isTpmEvidence(one, bound))) return 'bad_tpm_evidence';
  if (tpm === undefined) return undefined;
  return all.length > 0 && all.every(({ signer }) => tpmKeyName(signer) === tpm)
    ? undefined
    : 'untrusted_tpm';
}

function claimsFault(
  claims: EvidenceClaims,
  kids: readonly string[],
  keys: ReadonlyMap<string, VerifierKey>,
  { kid, nonce, nowMs = Date.now(), toleranceMs = usualToleranceMs, notAfter = {} }: AttestationExpectations,
): AttestationFault | undefined {
  if (claims.eat_profile !== evidenceProfile) return 'wrong_profile';
  if (kids.some((one) => keys.get(one)?.name !== claims.iss)) return 'wrong_issuer';
  if (kid.includes('#') ? claims.sub !== kid : !claims.sub.startsWith(`${kid}#`)) return 'wrong_kid';
  if (claims.eat_nonce !== nonce) return 'wrong_nonce';
  if (claims.iat * 1_000 > nowMs + toleranceMs) return 'not_yet_valid';
  if (claims.exp * 1_000 <= nowMs - toleranceMs) return 'expired';
  return kids.some((one) => claims.iat > (notAfter[one] ?? claims.iat)) ? 'replaced_key' : undefined;
}
