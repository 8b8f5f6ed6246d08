import { hash } from 'node:crypto';
import { jwkOf } from '../../algorithms/public-formats.ts';
import { publicKeySha256 } from '../../keys/authenticity.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import type { TokenEvidence, TpmAttestation, TpmSigned } from '../custody.ts';

/**
 * The claims about a key, as an Entity Attestation Token has them (RFC 9711, in JSON). Names that begin with `intaglio_` are
 * private (RFC 7519 section 4.3); all others are registered.
 */

/** The profile by which these tokens are read (RFC 9711 section 6): docs/attestation.md. */
export const evidenceProfile = 'urn:uuid:6d2f3f0e-5a0b-4c63-9f0a-8f4f3f5a7c11';

/** The version scheme `semver` of CoSWID (RFC 9393), and `multipartnumeric`. */
const versionSchemes = { semver: 16_384, multipartnumeric: 1 } as const;

/** RFC 9711 section 4.2.4. */
const maxModelBytes = 32;

/** What this process says about itself. */
export interface SoftwareFacts {
  /** Of Semantic Versioning, with the commit as build metadata. */
  readonly version: string;
  readonly engine: string;
  readonly libraries: Readonly<Record<string, string>>;
  /** True if pages with private keys are locked into memory. */
  readonly memoryLocked: boolean;
}

/** What is known of the place of a key: of each of its parts the token's word, or that our engine opens them. */
export type ResidenceFacts = { readonly kind: 'software' | 'elsewhere' } | TokenFacts;

export interface TokenFacts {
  readonly kind: 'token';
  /** One for each part of the key. */
  readonly parts: readonly [TokenEvidence, ...TokenEvidence[]];
}

export interface ClaimedFacts {
  readonly key: Pick<KeyHandle, 'head' | 'algorithm' | 'version'>;
  /** The attestation class of its custody. */
  readonly class: string;
  readonly software: SoftwareFacts;
  readonly residence: ResidenceFacts;
  /** Name of the log whose keys sign. */
  readonly issuer: string;
  /** Base64url of 8 to 64 bytes. */
  readonly nonce: string | undefined;
  /** UTC in milliseconds since 1970. */
  readonly atMs: number;
  readonly expiresAtMs: number;
}

/** The bytes of the claims: JSON in UTF-8, members in this order. */
export function claimsOf(facts: ClaimedFacts): Uint8Array {
  const { key, software, residence, issuer, nonce } = facts;
  const claims = {
    iss: issuer,
    sub: key.version.kid,
    iat: Math.floor(facts.atMs / 1_000),
    exp: Math.floor(facts.expiresAtMs / 1_000),
    eat_profile: evidenceProfile,
    ...(nonce === undefined ? undefined : { eat_nonce: nonce }),
    swname: 'intaglio',
    swversion: [software.version, versionSchemes.semver],
    ...confirmationOf(key),
    intaglio_key: keyClaims(key, facts.class),
    ...(residence.kind === 'software' ? { intaglio_engine: engineClaims(software) } : undefined),
    ...(residence.kind === 'token' ? { submods: { token: tokenClaims(residence) } } : undefined),
  };
  return Buffer.from(JSON.stringify(claims));
}

/** The key as a JWK thumbprint (RFC 7638; `jkt` of RFC 9449), where a JWK can hold it. */
function confirmationOf({ algorithm, version }: ClaimedFacts['key']) {
  const { kid, parts } = version;
  const jwk = jwkOf({ kid, algorithm, publicKeys: parts.map(({ publicKey }) => publicKey) });
  if (jwk === undefined) return undefined;
  const members = thumbprintMembers[jwk.kty as keyof typeof thumbprintMembers];
  const required = JSON.stringify(Object.fromEntries(members.map((name) => [name, jwk[name]])));
  return { cnf: { jkt: hash('sha256', required, 'base64url') } };
}

/** In the order of their names (RFC 7638 section 3.2, RFC 8037 section 2, RFC 9964). */
const thumbprintMembers = {
  AKP: ['alg', 'kty', 'pub'],
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
} as const;

const boundContext = 'intaglio/tpm-evidence/v1\0';

/** What a TPM signs along: `intaglio/tpm-evidence/v1`, kid, nonce (empty where there is none) and `public_key_sha256`, NUL between them. */
export function boundTo({
  kid,
  nonce = '',
  publicKeySha256: sha256,
}: {
  readonly kid: string;
  readonly nonce: string | undefined;
  readonly publicKeySha256: string;
}): Uint8Array {
  return hash('sha256', `${boundContext}${kid}\0${nonce}\0${sha256}`, 'buffer');
}

function keyClaims({ head, algorithm, version }: ClaimedFacts['key'], residenceClass: string) {
  return {
    alg: algorithm.name,
    purpose: head.purpose,
    backend: head.backend,
    class: residenceClass,
    ...originOf(head, version),
    // As in the record of the audit log that tells of this version.
    public_key_sha256: publicKeySha256(version.parts),
  };
}

/** The words of the audit log and of key reads, and `adopted` of a key that the token had before. */
function originOf(
  { policy }: ClaimedFacts['key']['head'],
  { source, version }: ClaimedFacts['key']['version'],
) {
  if (source?.kind === 'derived') return { origin: 'derived', derived_from: source.from };
  if (source !== undefined) return { origin: source.publicOnly ? 'imported_public' : 'imported' };
  return { origin: policy?.adopt !== undefined && version === 1 ? 'adopted' : 'generated' };
}

function engineClaims({ engine, libraries, memoryLocked }: SoftwareFacts) {
  return { name: engine, libraries, memory_locked: memoryLocked };
}

/** The token as a submodule (RFC 9711 section 4.2.18). */
function tokenClaims({ parts }: TokenFacts) {
  const [{ token, asOfMs }] = parts;
  const model = Buffer.from(token.model);
  const fits = model.length > 0 && model.length <= maxModelBytes;
  return {
    ...(fits ? { hwmodel: model.toString('base64url') } : undefined),
    swname: 'firmware',
    swversion: [token.firmware, versionSchemes.multipartnumeric],
    intaglio_token: {
      ...{ label: token.label, manufacturer: token.manufacturer, model: token.model, serial: token.serial },
      as_of: Math.floor(asOfMs / 1_000),
      keys: parts.map(({ key }) => ({
        ...{ local: key.local, sensitive: key.sensitive, always_sensitive: key.alwaysSensitive },
        ...{ extractable: key.extractable, never_extractable: key.neverExtractable },
      })),
    },
    ...(parts.some(({ tpm }) => tpm !== undefined) && {
      intaglio_tpm: parts.flatMap(({ tpm }) => (tpm === undefined ? [] : [tpmClaims(tpm)])),
    }),
  };
}

/** Of one part of the key. Structures of the TPM in base64url. */
function tpmClaims({ signer, publicArea, certified, quoted, pcrs }: TpmAttestation) {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
  const both = ({ attest, signature }: TpmSigned) => ({ attest: text(attest), signature: text(signature) });
  return {
    ...{ signer: text(signer), key: text(publicArea), certified: both(certified), quoted: both(quoted) },
    pcrs: { bank: 'sha256', values: pcrs },
  };
}
