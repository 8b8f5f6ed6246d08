import type { Certificate } from './certificate.ts';
import { liesWithin } from './names.ts';

/** The closed list of reasons against a path. */
export type PathProblem =
  | 'no_path'
  | 'too_complicated'
  | 'bad_signature'
  | 'weak_signature'
  | 'not_yet_valid'
  | 'expired'
  | 'unknown_critical_extension'
  | 'not_an_authority'
  | 'path_too_long'
  | 'outside_name_constraints'
  | 'wrong_purpose'
  | 'malformed'
  | 'revoked'
  | 'revocation_unknown';

export type PathVerdict =
  | { readonly valid: true; readonly path: readonly Certificate[] }
  /** `depth`: the place of the certificate that is at fault, 0 for the one that was asked about. */
  | { readonly valid: false; readonly problem: PathProblem; readonly depth: number };

/** What a key is used for, as TLS, S/MIME and signed code ask for it. */
export const chainPurposes = ['server_auth', 'client_auth', 'email_protection', 'code_signing'] as const;
export type ChainPurpose = (typeof chainPurposes)[number];

export interface PathTerms {
  /** Undefined: any. */
  readonly purpose?: ChainPurpose | undefined;
  /** UTC, milliseconds since 1970. */
  readonly atMs: number;
  /** The reason against a certificate that an authority has issued; undefined where it is not revoked. */
  readonly revocation?: (
    certificate: Certificate,
    issuer: Certificate,
  ) => 'revoked' | 'revocation_unknown' | undefined;
}

/** Chains in use have two to five certificates. */
const maxDepth = 10;
/** Of cross-signed authorities there are a few; a search that takes more is somebody's attack. */
const maxSteps = 1_000;
/** Each takes some 0.1 ms of the thread that reads requests, of RSA-16384 ten times that. */
const maxSignatures = 64;

/**
 * Finds a path from a certificate to an anchor and validates it (RFC 5280 section 6, with what `openssl verify -x509_strict` asks
 * beyond it). An anchor may be any authority; it is held to its own validity and constraints as well. Policies are not
 * processed: a certificate with critical constraints on them is refused. `given`: authorities between, in any order.
 */
export function validatePath(
  certificate: Certificate,
  given: readonly Certificate[],
  anchors: readonly Certificate[],
  terms: PathTerms,
): PathVerdict {
  const trusted = new Set(anchors.map(({ sha256 }) => sha256));
  const judging: Judging = { ...terms, signatures: new Map() };
  let steps = 0;
  let first: PathVerdict & { valid: false } = { valid: false, problem: 'no_path', depth: 0 };
  let found = false;
  const search = (path: readonly Certificate[]): PathVerdict | undefined => {
    const last = path.at(-1) as Certificate;
    if (trusted.has(last.sha256)) {
      const verdict = judge(path, judging);
      if (verdict.valid || verdict.problem === 'too_complicated') return verdict;
      if (!found) first = verdict;
      found = true;
      return undefined;
    }
    if (!found && path.length - 1 > first.depth) first = { ...first, depth: path.length - 1 };
    if (path.length >= maxDepth) return undefined;
    for (const issuer of [...anchors, ...given]) {
      if (++steps > maxSteps) return { valid: false, problem: 'too_complicated', depth: path.length - 1 };
      if (!mayHaveIssued(issuer, last) || path.some(({ sha256 }) => sha256 === issuer.sha256)) continue;
      const verdict = search([...path, issuer]);
      if (verdict !== undefined) return verdict;
    }
    return undefined;
  };
  return search([certificate]) ?? first;
}

/** The reason against an authority by itself, as whose subject certificates are about to be issued. */
export function problemOfIssuer(authority: Certificate, atMs: number): PathProblem | undefined {
  return (
    problemOfAuthority(authority, 1, 0) ??
    problemOfForm(authority, true, !authority.selfIssued) ??
    problemOfTime(authority, atMs)
  );
}

/** By names and key identifiers, before any signature is tried. */
function mayHaveIssued(issuer: Certificate, { issuer: name, authorityKeyId }: Certificate): boolean {
  if (issuer.subject.compared !== name.compared) return false;
  const { id, issuer: ofIssuer, serial } = authorityKeyId ?? {};
  if (id !== undefined && issuer.subjectKeyId !== undefined && issuer.subjectKeyId.id !== id) return false;
  if (serial !== undefined && issuer.serial !== serial) return false;
  return ofIssuer === undefined || ofIssuer.compared === issuer.issuer.compared;
}

/** One validation, whose paths have most of their signatures in common. */
interface Judging extends PathTerms {
  /** By the digests of a certificate and its issuer. */
  readonly signatures: Map<string, PathProblem | undefined>;
}

function judge(path: readonly Certificate[], judging: Judging): PathVerdict {
  const { atMs, purpose, revocation } = judging;
  let authorities = 0;
  for (const [depth, certificate] of path.entries()) {
    const issuer = path[depth + 1];
    const problem =
      problemOfAuthority(certificate, depth, authorities) ??
      problemOfForm(certificate, path.length > 1, issuer !== undefined) ??
      problemOfTime(certificate, atMs) ??
      problemOfPurpose(certificate, purpose, depth) ??
      (issuer === undefined ? undefined : knownProblemOfSignature(certificate, issuer, judging)) ??
      problemOfNames(certificate, depth, path.slice(depth + 1)) ??
      (issuer === undefined ? undefined : revocation?.(certificate, issuer));
    if (problem !== undefined) return { valid: false, problem, depth };
    if (depth > 0 && !certificate.selfIssued) authorities++;
  }
  return { valid: true, path };
}

/** The demands of RFC 5280 section 4 on a certificate by itself. */
function problemOfForm(
  certificate: Certificate,
  ofSeveral: boolean,
  hasIssuer: boolean,
): PathProblem | undefined {
  const { basic, keyUsage, subject, issuer, alternativeNames, version, authorityKeyId, subjectKeyId } =
    certificate;
  if (certificate.duplicateExtension) return 'malformed';
  if (certificate.unknownCritical.length > 0) return 'unknown_critical_extension';
  // Whoever signs itself and is no authority is its own affair (RFC 6818 section 2).
  if (!ofSeveral) return undefined;
  const ca = basic?.ca === true;
  const faults = [
    basic?.pathLength !== undefined && !(ca && keyUsage?.keyCertSign !== false),
    ca && basic?.critical !== true,
    ca ? keyUsage === undefined : keyUsage?.keyCertSign === true,
    issuer.parts.length === 0,
    subject.parts.length === 0 && (ca || keyUsage?.crlSign === true || alternativeNames === undefined),
    subject.parts.length === 0 && alternativeNames !== undefined && !alternativeNames.critical,
    alternativeNames?.names.length === 0,
    !certificate.sameAlgorithm,
    authorityKeyId?.critical === true || subjectKeyId?.critical === true,
    version === 3 && hasIssuer && authorityKeyId?.id === undefined,
    version === 3 && ca && subjectKeyId === undefined,
    version !== 3 && certificate.hasExtensions,
    hasExplicitCurve(certificate),
  ];
  return faults.includes(true) ? 'malformed' : undefined;
}

/** A curve that is spelled out may be one that was made to be broken. */
function hasExplicitCurve({ library }: Certificate): boolean {
  const { asymmetricKeyType, asymmetricKeyDetails } = library.publicKey;
  return asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === undefined;
}

/** `authorities`: those between this one and the certificate at the beginning, without self-issued ones. */
function problemOfAuthority(
  { basic, keyUsage, version }: Certificate,
  depth: number,
  authorities: number,
): PathProblem | undefined {
  if (depth === 0) return undefined;
  if (version !== 3 || basic?.ca !== true || keyUsage?.keyCertSign === false) return 'not_an_authority';
  return depth > 1 && basic.pathLength !== undefined && authorities > basic.pathLength
    ? 'path_too_long'
    : undefined;
}

function problemOfTime({ notBeforeMs, notAfterMs }: Certificate, atMs: number): PathProblem | undefined {
  if (atMs < notBeforeMs) return 'not_yet_valid';
  return atMs > notAfterMs ? 'expired' : undefined;
}

interface PurposeTerms {
  readonly extended: string;
  /** Bits of the leaf's key usage, one of which has to be there. */
  readonly usages: readonly (keyof NonNullable<Certificate['keyUsage']>)[];
  /** Code is signed only by whoever was certified for that. */
  readonly explicit?: true;
}

/** As OpenSSL asks for the purposes sslserver, sslclient, smimesign and codesign. */
const purposeTerms: Readonly<Record<ChainPurpose, PurposeTerms>> = {
  server_auth: {
    extended: '1.3.6.1.5.5.7.3.1',
    usages: ['digitalSignature', 'keyEncipherment', 'keyAgreement'],
  },
  client_auth: { extended: '1.3.6.1.5.5.7.3.2', usages: ['digitalSignature', 'keyAgreement'] },
  email_protection: { extended: '1.3.6.1.5.5.7.3.4', usages: ['digitalSignature', 'nonRepudiation'] },
  code_signing: { extended: '1.3.6.1.5.5.7.3.3', usages: ['digitalSignature'], explicit: true },
};

/** An authority whose extended key usage leaves a purpose out certifies nobody for it. */
function problemOfPurpose(
  { extendedKeyUsage, keyUsage }: Certificate,
  purpose: ChainPurpose | undefined,
  depth: number,
): PathProblem | undefined {
  if (purpose === undefined) return undefined;
  const { extended, usages, explicit } = purposeTerms[purpose];
  const lacksExtended =
    extendedKeyUsage === undefined ? explicit === true && depth === 0 : !extendedKeyUsage.includes(extended);
  const lacksUsage = depth === 0 && keyUsage !== undefined && !usages.some((usage) => keyUsage[usage]);
  return lacksExtended || lacksUsage ? 'wrong_purpose' : undefined;
}

/** MD5 and SHA-1 with RSA, SHA-1 with DSA and ECDSA: others can make a second certificate with the same signature. */
const weakAlgorithms = new Set([
  ...['1.2.840.113549.1.1.2', '1.2.840.113549.1.1.4', '1.2.840.113549.1.1.5'],
  ...['1.2.840.10040.4.3', '1.2.840.10045.4.1', '1.3.14.3.2.29'],
]);

function knownProblemOfSignature(
  certificate: Certificate,
  issuer: Certificate,
  { signatures }: Judging,
): PathProblem | undefined {
  const pair = `${certificate.sha256}${issuer.sha256}`;
  if (signatures.has(pair)) return signatures.get(pair);
  if (signatures.size >= maxSignatures) return 'too_complicated';
  const problem = problemOfSignature(certificate, issuer);
  signatures.set(pair, problem);
  return problem;
}

function problemOfSignature(
  { library, signatureAlgorithm }: Certificate,
  issuer: Certificate,
): PathProblem | undefined {
  if (weakAlgorithms.has(signatureAlgorithm)) return 'weak_signature';
  try {
    return library.verify(issuer.library.publicKey) ? undefined : 'bad_signature';
  } catch {
    return 'bad_signature';
  }
}

function problemOfNames(
  { selfIssued, subject, alternativeNames }: Certificate,
  depth: number,
  above: readonly Certificate[],
): PathProblem | undefined {
  if (depth > 0 && selfIssued && above.length > 0) return undefined;
  const outside = above.some(
    ({ constraints }) =>
      constraints !== undefined && !liesWithin(constraints, subject, alternativeNames?.names, depth === 0),
  );
  return outside ? 'outside_name_constraints' : undefined;
}
